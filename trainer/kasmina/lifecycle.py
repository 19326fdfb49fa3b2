"""The life cycle of one slot: the operations of the policy and the automatic changes between epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import torch

from trainer.kasmina.alpha import AlphaCurve, AlphaSchedule, AlphaSpeed, AlphaTarget, Style, Tempo
from trainer.kasmina.facts import Fossilized, GateEvaluated, Germinated, Provenance, Pruned, SeedFact, StageChanged
from trainer.kasmina.gates import Evidence, Verdict, judge
from trainer.kasmina.slot import Slot
from trainer.kasmina.stages import GROWING, Stage, check_transition

EMBARGO_EPOCHS: Final = 2
"""Epochs a slot rests after a prune, so that the policy cannot churn it every epoch."""


@dataclass(kw_only=True)
class SeedRecord:
    """State of the seed in a slot. Accuracies are percentages, contributions percentage points."""

    seed_id: str
    blueprint_id: str
    style: Style
    tempo: Tempo
    alpha_target: float
    params: int
    accuracy_at_germination: float
    accuracy: float
    accuracy_at_blending: float | None = None
    age: int = 0
    epochs_in_stage: int = 0
    curve: AlphaCurve = AlphaCurve.LINEAR
    schedule: AlphaSchedule | None = None
    schedule_step: int = 0
    contribution: float | None = None
    contribution_velocity: float | None = None
    grad_norm: float | None = None
    grad_ratio: float | None = None
    is_leaving: bool = False

    @property
    def improvement(self) -> float:
        """Validation accuracy gained since germination, percentage points."""
        return self.accuracy - self.accuracy_at_germination

    @property
    def blending_delta(self) -> float | None:
        """Validation accuracy gained since blending began, percentage points; None before that."""
        return None if self.accuracy_at_blending is None else self.accuracy - self.accuracy_at_blending


@dataclass(kw_only=True)
class Lifecycle:
    """Drives one slot. Every change appends a fact to ``facts``, which the environment drains."""

    slot: Slot
    device: torch.device
    record: SeedRecord | None = None
    embargo_left: int = 0
    facts: list[SeedFact] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        """Stage of the slot."""
        return self.slot.stage

    def germinate(
        self,
        seed_id: str,
        blueprint_id: str,
        style: Style,
        tempo: Tempo,
        target: AlphaTarget,
        accuracy: float,
        provenance: Provenance,
    ) -> None:
        """Plant a seed in a dormant slot."""
        check_transition(self.stage, Stage.GERMINATED)
        seed = self.slot.plant(blueprint_id, style.algorithm, provenance.rng_seed).to(self.device)
        self.record = SeedRecord(
            seed_id=seed_id,
            blueprint_id=blueprint_id,
            style=style,
            tempo=tempo,
            alpha_target=target.value,
            params=seed.parameter_count,
            accuracy_at_germination=accuracy,
            accuracy=accuracy,
            curve=style.curve,
        )
        self.slot.stage = Stage.GERMINATED
        self.slot.alpha = 0.0
        self.facts.append(
            Germinated(**self._about(provenance), params=seed.parameter_count, style=style, tempo_epochs=tempo.value)
        )

    def advance(self, val_loss: float, provenance: Provenance) -> bool:
        """Move a germinated seed to training, or a trained one to blending, if its gate allows it."""
        gate = {Stage.GERMINATED: "G1", Stage.TRAINING: "G2"}[self.stage]
        if not self._pass(gate, val_loss, provenance):
            return False
        record = self._living()
        self._enter(Stage.TRAINING if gate == "G1" else Stage.BLENDING, provenance)
        if gate == "G2":
            record.accuracy_at_blending = record.accuracy
            self._ramp(record.alpha_target, record.tempo.value, record.style.curve)
        return True

    def set_alpha_target(
        self, target: AlphaTarget, speed: AlphaSpeed, curve: AlphaCurve, provenance: Provenance
    ) -> bool:
        """Move a held seed to another blend weight; False if it is already there."""
        record = self._living()
        if self.stage is not Stage.HOLDING or target.value == self.slot.alpha:
            return False
        record.alpha_target = target.value
        record.curve = curve
        self._enter(Stage.BLENDING, provenance)
        self._ramp(target.value, speed.value, curve)
        return True

    def prune(self, speed: AlphaSpeed, curve: AlphaCurve, provenance: Provenance) -> bool:
        """Remove the seed: at once, or by fading it out first when it is blended and ``speed`` is not instant."""
        record = self._living()
        if speed is AlphaSpeed.INSTANT or self.slot.alpha == 0.0:
            self.remove("policy_prune", "policy", provenance)
            return True
        if self.stage is Stage.HOLDING:
            self._enter(Stage.BLENDING, provenance)
        record.is_leaving = True
        record.curve = curve
        self._ramp(0.0, speed.value, curve)
        return True

    def fossilize(self, provenance: Provenance) -> bool:
        """Make a held seed permanent, if it contributes."""
        if not self._pass("G5", None, provenance):
            return False
        record = self._living()
        self._enter(Stage.FOSSILIZED, provenance)
        self.facts.append(
            Fossilized(
                **self._about(provenance),
                improvement=record.improvement,
                params=record.params,
                alpha=self.slot.alpha,
                age=record.age,
                contribution=record.contribution,
                blending_delta=record.blending_delta,
            )
        )
        return True

    def remove(self, reason: str, initiator: str, provenance: Provenance | None = None) -> None:
        """Take the seed out now and put the slot under embargo."""
        record = self._living()
        self._enter(Stage.PRUNED, provenance)
        self.facts.append(
            Pruned(
                **self._about(provenance),
                reason=reason,
                initiator=initiator,
                improvement=record.improvement,
                age=record.age,
                contribution=record.contribution,
                blending_delta=record.blending_delta,
            )
        )
        self.slot.seed = None
        self.slot.alpha = 0.0
        self.embargo_left = EMBARGO_EPOCHS

    def before_epoch(self) -> float:
        """Advance the ramp by one epoch and return the change of the blend weight."""
        record = self.record
        if record is None or record.schedule is None:
            return 0.0
        before = self.slot.alpha
        record.schedule_step += 1
        self.slot.alpha = record.schedule.at(record.schedule_step)
        if record.schedule.is_done(record.schedule_step):
            record.schedule = None
        return self.slot.alpha - before

    def after_epoch(self, accuracy: float, val_loss: float) -> None:
        """Count the epoch and make the automatic changes: arrive at holding, leave after fading, end the embargo."""
        if self.record is not None:
            self.record.accuracy = accuracy
            self.record.age += self.stage in GROWING
            self.record.epochs_in_stage += 1
        if self.stage in (Stage.PRUNED, Stage.EMBARGOED, Stage.RESETTING):
            self._recover()
        elif self.stage is Stage.BLENDING and self._living().schedule is None:
            if self._living().is_leaving:
                self.remove("scheduled_prune", "policy")
            elif self._pass("G3", val_loss, None):
                self._enter(Stage.HOLDING, None)

    def _recover(self) -> None:
        if self.stage is Stage.PRUNED:
            self._enter(Stage.EMBARGOED, None)
        elif self.stage is Stage.EMBARGOED:
            self.embargo_left -= 1
            if self.embargo_left <= 0:
                self._enter(Stage.RESETTING, None)
        else:
            self._enter(Stage.DORMANT, None)
            self.record = None

    def _pass(self, gate: str, val_loss: float | None, provenance: Provenance | None) -> bool:
        record = self._living()
        verdict = judge(
            gate,
            Evidence(
                stage=self.stage,
                epochs_in_stage=record.epochs_in_stage,
                seed_params=record.params,
                grad_norm=record.grad_norm,
                val_loss=val_loss,
                alpha=self.slot.alpha,
                alpha_target=record.alpha_target,
                contribution=record.contribution,
            ),
        )
        self.note_gate(verdict, provenance)
        return verdict.passed

    def note_gate(self, verdict: Verdict, provenance: Provenance | None) -> None:
        """Record a verdict on this slot."""
        self.facts.append(
            GateEvaluated(
                **self._about(provenance),
                gate=verdict.gate,
                target_stage=verdict.target_stage,
                passed=verdict.passed,
                checks_passed=verdict.checks_passed,
                checks_failed=verdict.checks_failed,
            )
        )

    def _ramp(self, target: float, steps: int, curve: AlphaCurve) -> None:
        record = self._living()
        record.schedule = AlphaSchedule(start=self.slot.alpha, target=target, steps=steps, curve=curve)
        record.schedule_step = 0

    def _enter(self, target: Stage, provenance: Provenance | None) -> None:
        check_transition(self.stage, target)
        record = self._living()
        self.facts.append(
            StageChanged(
                **self._about(provenance),
                from_stage=self.stage,
                to_stage=target,
                alpha=self.slot.alpha,
                accuracy_delta=record.improvement,
                epochs_in_stage=record.epochs_in_stage,
                grad_ratio=record.grad_ratio,
                alpha_curve=record.curve,
            )
        )
        self.slot.stage = target
        record.epochs_in_stage = 0

    def _living(self) -> SeedRecord:
        if self.record is None:
            raise LookupError(f"slot {self.slot.slot_id} contains no seed (stage {self.stage}); germinate one first")
        return self.record

    def _about(self, provenance: Provenance | None) -> dict[str, Any]:
        record = self._living()
        return {
            "slot_id": self.slot.slot_id,
            "seed_id": record.seed_id,
            "blueprint_id": record.blueprint_id,
            "provenance": provenance,
        }
