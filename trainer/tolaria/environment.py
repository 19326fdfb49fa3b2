"""One environment: a host that grows. A step is one training epoch of the host after one action of the policy."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch

from trainer.kasmina.facts import Provenance, SeedFact
from trainer.kasmina.lifecycle import Lifecycle, SeedRecord
from trainer.kasmina.stages import BLENDED, GROWING, TRAINABLE, Stage
from trainer.seeding import derive_seed, generator
from trainer.tamiyo.actions import Action, Op
from trainer.tiers import Tiers
from trainer.tolaria.data import Digits
from trainer.tolaria.governor import Governor, Panic, rollback
from trainer.tolaria.host import Host
from trainer.tolaria.phases import PhaseClock, PhaseTime
from trainer.tolaria.stability import Stabilization
from trainer.tolaria.surgery import COOLDOWN_EPOCHS, Ruling, perform, rule, valid_ops
from trainer.tolaria.training import EpochNumbers, EpochTrainer, HostSettings


@dataclass(frozen=True, kw_only=True)
class EnvironmentSettings:
    """Settings of an environment.

    Attributes:
        host: settings of its host.
        episode_length: epochs (steps) in an episode.
        param_budget: parameters that all seeds together may have.
    """

    host: HostSettings = field(default_factory=HostSettings)
    episode_length: int = 24
    param_budget: int = 6000


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """Everything that happened in one step, for the reward and for telemetry.

    Attributes:
        inner_epoch: number of the epoch within the episode, from 1.
        action: the policy's choice.
        provenance: ids and random stream of the action.
        ruling: the governor's verdict.
        succeeded: the operation was carried out.
        numbers: measurements of the epoch.
        accuracy_delta: change of validation accuracy over the epoch, percentage points.
        alpha_shock: sum over slots of the squared change of the blend weight.
        facts: changes of seeds, in order.
        panic: reason of the governor's rollback, None in a healthy step.
        became_stable: the host became stable at this epoch.
        started_ns: Unix time in ns at which the epoch began.
        duration_s: wall time of the step.
        phases: time by phase.
        stages_before: stage of every slot when the action was chosen.
    """

    inner_epoch: int
    action: Action
    provenance: Provenance
    ruling: Ruling
    succeeded: bool
    numbers: EpochNumbers
    accuracy_delta: float
    alpha_shock: float
    facts: tuple[SeedFact, ...]
    panic: Panic | None
    became_stable: bool
    started_ns: int
    duration_s: float
    phases: dict[str, PhaseTime]
    stages_before: dict[str, Stage]


class Environment:
    """One host with its data stream, optimisers, slots and governor. Draws only from its own random streams."""

    def __init__(
        self,
        env_id: int,
        settings: EnvironmentSettings,
        data: Digits,
        device: torch.device,
        tiers: Tiers | None = None,
    ) -> None:
        self.tiers = tiers or Tiers()
        self.env_id = env_id
        self.settings = settings
        self.data = data
        self.device = device
        self.clock = PhaseClock(self.device)
        self.slot_ids = tuple(f"r0c{i}" for i in range(settings.host.n_slots))

    def reset(self, episode_idx: int, base_seed: int, host_weights: dict[str, torch.Tensor]) -> None:
        """Begin an episode with a bare host of ``host_weights``.

        Everything random in it follows from ``base_seed`` and ``episode_idx``.
        """
        self.episode_idx = episode_idx
        self.base_seed = base_seed
        self.inner_epoch = 0
        self.cooldown = 0
        self.seeds_created = 0
        self.rollbacks = 0
        self.last_action_id: str | None = None
        self.op_counts = {op.name: 0 for op in Op}
        self.host = Host(self.settings.host.channels, self.settings.host.n_slots).to(self.device)
        self.host.load_state_dict(host_weights)
        if self.settings.host.compile:
            self.host.compile_blocks()
        self.lives = {slot.slot_id: Lifecycle(slot=slot, device=self.device) for slot in self.host.slot_list}
        self.trainer = EpochTrainer(self.host, self.data, self.settings.host, self.device, self.clock)
        self.stream = generator(derive_seed(base_seed, "batches", episode_idx))
        self.governor = Governor()
        self.stability = Stabilization()
        self.val_loss, self.val_accuracy = self.trainer.measure()
        self.best_accuracy = self.initial_accuracy = self.val_accuracy
        self.accuracy_at_stability: float | None = None
        self.last_delta = 0.0
        self.last_train_loss = self.val_loss

    @property
    def lives_in_order(self) -> list[Lifecycle]:
        """Life cycles in the order of the slots."""
        return list(self.lives.values())

    @property
    def can_germinate(self) -> bool:
        """True if the host accepts new seeds now."""
        return self.stability.is_stable

    @property
    def is_within_budget(self) -> bool:
        """True if the parameters of all planted seeds are below the budget."""
        return self.host.seed_parameter_count < self.settings.param_budget

    @property
    def is_done(self) -> bool:
        """True if the episode is over."""
        return self.inner_epoch >= self.settings.episode_length

    def slot_ops(self) -> list[tuple[bool, ...]]:
        """Mask of the operations that are valid on each slot: n_slots rows in the order of :class:`Op`."""
        return [valid_ops(life, self.can_germinate) for life in self.lives.values()]

    def next_seed_id(self) -> str:
        """Id of the next seed, unique within the run."""
        self.seeds_created += 1
        return f"ep{self.episode_idx}_env{self.env_id}_seed_{self.seeds_created - 1}"

    def start_learning(self, life: Lifecycle) -> None:
        """Give the seed of ``life`` its optimiser."""
        if life.slot.seed is not None:
            parameters = list(life.slot.seed.parameters())
            self.trainer.optimizers.adopt(life.slot.slot_id, parameters, self.settings.host.lr)

    def step(self, action: Action, batch_idx: int) -> StepOutcome:
        """Carry ``action`` out, train one epoch, judge it. Waits for the device once per epoch."""
        started_ns, start = time.time_ns(), time.perf_counter()
        self.inner_epoch += 1
        stages_before = {slot_id: life.stage for slot_id, life in self.lives.items()}
        provenance = self._provenance(action, batch_idx)
        with self.clock.phase("action"):
            ruling = rule(self, action)
            succeeded = ruling.approved and perform(self, action, provenance)
            alpha_shock = sum(life.before_epoch() ** 2 for life in self.lives.values())
            self._drop_dead_optimizers()
        blended = [slot_id for slot_id, life in self.lives.items() if life.stage in BLENDED and life.slot.alpha > 0]
        depth = self.tiers.at(batch_idx)
        compare = depth.compares_seeds(self.inner_epoch) and len(self.host.seeds) > 1
        numbers = self.trainer.run(self.stream, blended, look=depth.medium, compare=compare)
        panic, became_stable, delta = self._absorb(numbers)
        self.op_counts[action.op.name] += 1
        if action.op is not Op.WAIT:
            self.last_action_id = provenance.action_id
        return StepOutcome(
            inner_epoch=self.inner_epoch,
            action=action,
            provenance=provenance,
            ruling=ruling,
            succeeded=succeeded,
            numbers=numbers,
            accuracy_delta=delta,
            alpha_shock=alpha_shock,
            facts=self._drain_facts(),
            panic=panic,
            became_stable=became_stable,
            started_ns=started_ns,
            duration_s=time.perf_counter() - start,
            phases=self.clock.take(),
            stages_before=stages_before,
        )

    def _provenance(self, action: Action, batch_idx: int) -> Provenance:
        slot_id = self.slot_ids[action.slot]
        action_id = f"morph-b{batch_idx}-e{self.inner_epoch}-env{self.env_id}-{slot_id}-op{int(action.op)}"
        return Provenance(
            action_id=action_id,
            rng_stream=f"simic.lifecycle.env{self.env_id}",
            rng_seed=derive_seed(self.base_seed, "lifecycle", self.episode_idx, action_id),
        )

    def _absorb(self, numbers: EpochNumbers) -> tuple[Panic | None, bool, float]:
        panic = self.governor.judge(numbers.val_loss)
        before = self.val_accuracy
        self.cooldown = max(0, self.cooldown - 1)
        if panic is not None and self.governor.snapshot is not None:
            self._roll_back(panic)
            return panic, False, self.val_accuracy - before
        self.val_loss, self.val_accuracy = numbers.val_loss, numbers.val_accuracy
        self.last_train_loss = numbers.train_loss
        self.last_delta = self.val_accuracy - before
        self._credit(numbers)
        for life in self.lives.values():
            life.after_epoch(self.val_accuracy, self.val_loss)
        self._drop_dead_optimizers()
        became_stable = self.stability.observe(self.val_loss)
        if became_stable:
            self.accuracy_at_stability = self.val_accuracy
        self.best_accuracy = max(self.best_accuracy, self.val_accuracy)
        if panic is None:
            self.governor.accept(self.val_loss, self.host, self.lives)
        return panic, became_stable, self.last_delta

    def _roll_back(self, panic: Panic) -> None:
        assert self.governor.snapshot is not None
        rollback(self.governor.snapshot, self.host, self.lives, panic.reason)
        self.trainer = EpochTrainer(self.host, self.data, self.settings.host, self.device, self.clock)
        for life in self.lives.values():
            if life.stage in TRAINABLE:
                self.start_learning(life)
        self.governor.consecutive = 0
        self.cooldown = COOLDOWN_EPOCHS
        self.rollbacks += 1
        self.val_loss, self.val_accuracy = self.trainer.measure()

    def _credit(self, numbers: EpochNumbers) -> None:
        host_scale = numbers.host_grad_norm / math.sqrt(self.host.parameter_count)
        for slot_id, life in self.lives.items():
            record = life.record
            if record is None or life.slot.seed is None:
                continue
            norm = numbers.seed_grad_norms.get(slot_id)
            record.grad_norm = norm
            if norm is not None and 0.0 < host_scale < math.inf and math.isfinite(norm):
                record.grad_ratio = norm / math.sqrt(record.params) / host_scale
            self._credit_contribution(record, numbers.val_accuracy_without.get(slot_id), numbers.val_accuracy)

    @staticmethod
    def _credit_contribution(record: SeedRecord, without: float | None, accuracy: float) -> None:
        before, now = record.contribution, None if without is None else accuracy - without
        record.contribution = now
        if now is not None and before is not None:
            smooth = record.contribution_velocity or 0.0
            record.contribution_velocity = 0.7 * smooth + 0.3 * (now - before)

    def _drop_dead_optimizers(self) -> None:
        optimizers = self.trainer.optimizers.seeds
        for slot_id in [s for s in optimizers if self.lives[s].stage not in TRAINABLE]:
            del optimizers[slot_id]

    def _drain_facts(self) -> tuple[SeedFact, ...]:
        facts = [fact for life in self.lives.values() for fact in life.facts]
        for life in self.lives.values():
            life.facts.clear()
        return tuple(facts)

    @property
    def growing_count(self) -> int:
        """Seeds that are alive and not permanent."""
        return sum(life.stage in GROWING for life in self.lives.values())

    @property
    def fossilized(self) -> list[Lifecycle]:
        """Life cycles whose seed is permanent."""
        return [life for life in self.lives.values() if life.stage is Stage.FOSSILIZED]
