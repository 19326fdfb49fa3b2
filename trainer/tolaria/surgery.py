"""The policy's operations on a host, and the governor's veto."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from trainer.kasmina.facts import Provenance
from trainer.kasmina.gates import MIN_TRAINING_EPOCHS, Evidence, judge
from trainer.kasmina.lifecycle import Lifecycle
from trainer.kasmina.stages import Stage
from trainer.tamiyo.actions import (
    ALPHA_CURVES,
    ALPHA_SPEEDS,
    ALPHA_TARGETS,
    BLUEPRINT_IDS,
    STYLES,
    TEMPOS,
    Action,
    Op,
)

COOLDOWN_EPOCHS: Final = 3
"""Epochs after a rollback in which nothing germinates: the restored host has to prove itself."""


MIN_PRUNE_AGE: Final = 4
"""Epochs a seed is safe from the policy: it can neither help nor be judged before it has been blended in."""


class Body(Protocol):
    """The part of an environment that an operation sees and changes. Loss in nats, accuracy in percent."""

    cooldown: int
    val_loss: float
    val_accuracy: float

    @property
    def lives_in_order(self) -> list[Lifecycle]:
        """Life cycles in the order of the slots."""

    @property
    def can_germinate(self) -> bool:
        """True if the host is stable enough for new seeds."""

    @property
    def is_within_budget(self) -> bool:
        """True if the planted seeds leave room for another."""

    def next_seed_id(self) -> str:
        """Id of the next seed, unique within the run."""

    def start_learning(self, life: Lifecycle) -> None:
        """Give the seed of ``life`` its optimiser."""


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """The governor's verdict on a proposed operation: ``blocked_factor`` names the rule that blocked it."""

    approved: bool
    reason: str
    blocked_factor: str | None = None


_APPROVED: Final = Ruling(approved=True, reason="approved")


def rule(env: Body, action: Action) -> Ruling:
    """Decide whether the governor allows ``action`` now."""
    if action.op is Op.GERMINATE and env.cooldown > 0:
        return Ruling(approved=False, reason="cooling down after a rollback", blocked_factor="rollback")
    if action.op is Op.GERMINATE and env.lives_in_order[action.slot].stage is not Stage.DORMANT:
        return Ruling(approved=False, reason="slot is taken", blocked_factor="slot_empty_for_germination")
    return _APPROVED


def valid_ops(life: Lifecycle, can_germinate: bool) -> tuple[bool, ...]:
    """Mask of the operations that make sense on a slot, in the order of :class:`Op`; WAIT always does."""
    record = life.record
    is_fading = record is not None and record.is_leaving
    growing = life.stage in (Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.HOLDING)
    valid = {
        Op.WAIT: True,
        Op.GERMINATE: can_germinate and life.stage is Stage.DORMANT,
        Op.SET_ALPHA_TARGET: life.stage is Stage.HOLDING,
        Op.PRUNE: growing and not is_fading and record is not None and record.age >= MIN_PRUNE_AGE,
        Op.FOSSILIZE: life.stage is Stage.HOLDING,
        Op.ADVANCE: life.stage is Stage.GERMINATED or _has_trained(life),
    }
    return tuple(valid[op] for op in Op)


def _has_trained(life: Lifecycle) -> bool:
    # Earlier G2 is certain to refuse: the mask spares the policy from learning that by failing.
    record = life.record
    return life.stage is Stage.TRAINING and record is not None and record.epochs_in_stage >= MIN_TRAINING_EPOCHS


def perform(env: Body, action: Action, provenance: Provenance) -> bool:
    """Carry out ``action``; False if the governor or a gate blocked it, or it was invalid on the slot."""
    if action.op is Op.WAIT:
        return True
    life = env.lives_in_order[action.slot]
    if not valid_ops(life, env.can_germinate)[action.op]:
        return False
    return _PERFORM[action.op](env, life, action, provenance)


def _germinate(env: Body, life: Lifecycle, action: Action, provenance: Provenance) -> bool:
    verdict = judge(
        "G0",
        Evidence(
            stage=life.stage,
            is_host_stable=env.can_germinate,
            is_within_budget=env.is_within_budget,
        ),
    )
    if verdict.passed:
        life.germinate(
            env.next_seed_id(),
            BLUEPRINT_IDS[action.blueprint],
            STYLES[action.style],
            TEMPOS[action.tempo],
            ALPHA_TARGETS[action.alpha_target],
            env.val_accuracy,
            provenance,
        )
        life.note_gate(verdict, provenance)
    return verdict.passed


def _advance(env: Body, life: Lifecycle, action: Action, provenance: Provenance) -> bool:
    advanced = life.advance(env.val_loss, provenance)
    if advanced and life.stage is Stage.TRAINING:
        env.start_learning(life)
    return advanced


def _retarget(env: Body, life: Lifecycle, action: Action, provenance: Provenance) -> bool:
    return life.set_alpha_target(
        ALPHA_TARGETS[action.alpha_target],
        ALPHA_SPEEDS[action.alpha_speed],
        ALPHA_CURVES[action.alpha_curve],
        provenance,
    )


def _prune(env: Body, life: Lifecycle, action: Action, provenance: Provenance) -> bool:
    return life.prune(ALPHA_SPEEDS[action.alpha_speed], ALPHA_CURVES[action.alpha_curve], provenance)


def _fossilize(env: Body, life: Lifecycle, action: Action, provenance: Provenance) -> bool:
    return life.fossilize(provenance)


_PERFORM: Final[dict[Op, Callable[[Body, Lifecycle, Action, Provenance], bool]]] = {
    Op.GERMINATE: _germinate,
    Op.ADVANCE: _advance,
    Op.SET_ALPHA_TARGET: _retarget,
    Op.PRUNE: _prune,
    Op.FOSSILIZE: _fossilize,
}
