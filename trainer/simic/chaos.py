"""Interventions that really break a run, at given rounds: what the detectors, the governor and the screens are for.

Nothing here emits anything. Each intervention does to weights, data or settings what a real fault does; what follows
is found by the same code that watches every run. All of it follows from the recipe, so a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from trainer.kasmina.slot import Slot
from trainer.kasmina.stages import Stage
from trainer.seeding import derive_seed, generator

if TYPE_CHECKING:
    from trainer.simic.loop import Training
    from trainer.tamiyo.rollout import Batch
    from trainer.tolaria.environment import Environment


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """One fault.

    Attributes:
        kind: what is done, one of :data:`KINDS`.
        rounds: rounds in which it is done, from 1.
        epoch: epoch within the episode at which a host is hit, from 1; unused by faults of the policy.
        strength: factor, spread or share, as the kind has it.
        margin: percentage points above the accuracy at germination that a worn host is held down to; may be negative.
        env_id: environment whose host is hit; None hits all of them.
    """

    kind: str
    rounds: tuple[int, ...]
    epoch: int = 0
    strength: float = 1.0
    margin: float = 0.0
    env_id: int | None = None

    def __post_init__(self) -> None:
        """Refuse a kind that nobody carries out."""
        if self.kind not in KINDS:
            raise ValueError(f"intervention {self.kind!r} is not one of {', '.join(KINDS)}")


class Script:
    """Carries out a recipe's interventions when their time comes."""

    def __init__(self, interventions: tuple[Intervention, ...] = ()) -> None:
        self.interventions = interventions
        self._ballast: list[torch.Tensor] = []

    def round_begins(self, training: Training, batch_idx: int) -> None:
        """Change what holds for a whole round; :meth:`round_ends` puts it back."""
        self._ppo_settings = training.ppo.settings
        for fault in self._due(batch_idx, _FOR_THE_ROUND):
            _FOR_THE_ROUND[fault.kind](training, fault, self._ballast)

    def epoch_begins(self, training: Training, batch_idx: int, epoch: int) -> None:
        """Hit hosts before an epoch."""
        for fault in self._due(batch_idx, _ON_A_HOST):
            for env in training.envs:
                if fault.env_id in (None, env.env_id):
                    _ON_A_HOST[fault.kind](env, fault, epoch, training.recipe.seed)

    def distort(self, batch_idx: int, batch: Batch) -> Batch:
        """The batch as the policy gets to learn from it."""
        for fault in self._due(batch_idx, _ON_THE_BATCH):
            batch = _ON_THE_BATCH[fault.kind](batch, fault)
        return batch

    def round_ends(self, training: Training, batch_idx: int) -> None:
        """Put back what was changed for the round; damage to weights stays."""
        if self._due(batch_idx, _FOR_THE_ROUND):
            training.ppo.settings = self._ppo_settings
            _set_lr(training, self._ppo_settings.lr)

    def _due(self, batch_idx: int, kinds: Mapping[str, object]) -> list[Intervention]:
        return [fault for fault in self.interventions if batch_idx in fault.rounds and fault.kind in kinds]


def _set_lr(training: Training, lr: float) -> None:
    for group in training.ppo.optimizer.param_groups:
        group["lr"] = lr


def _lr_spike(training: Training, fault: Intervention, ballast: list[torch.Tensor]) -> None:
    """The policy's learning rate is ``strength`` times too large."""
    _set_lr(training, training.ppo.settings.lr * fault.strength)


def _entropy_sign(training: Training, fault: Intervention, ballast: list[torch.Tensor]) -> None:
    """The entropy bonus has the wrong sign and ``strength`` times its weight, and nothing stops at the KL limit."""
    s = training.ppo.settings
    wrong = -fault.strength * s.entropy_coef
    training.ppo.settings = replace(s, entropy_coef=wrong, entropy_coef_end=wrong, target_kl=float("inf"))


def _memory_leak(training: Training, fault: Intervention, ballast: list[torch.Tensor]) -> None:
    """``strength`` GiB of memory are taken and never given back while the run lasts."""
    ballast.append(torch.ones(int(fault.strength * 2**28), dtype=torch.float32, device=training.device))


def _scaled_rewards(batch: Batch, fault: Intervention) -> Batch:
    """Rewards in the wrong unit: returns and errors are ``strength`` times what the critic has learned."""
    return replace(
        batch,
        rewards=batch.rewards * fault.strength,
        returns=batch.returns * fault.strength,
        td_errors=batch.td_errors * fault.strength,
    )


def _poisoned_reward(batch: Batch, fault: Intervention) -> Batch:
    """One reward is NaN, and with it what was computed from it."""
    bad = torch.zeros_like(batch.advantages, dtype=torch.bool)
    bad[0] = True
    nan = torch.full_like(batch.advantages, float("nan"))
    return replace(
        batch,
        advantages=torch.where(bad, nan, batch.advantages),
        returns=torch.where(bad, nan, batch.returns),
    )


@torch.no_grad()
def _nan_weights(env: Environment, fault: Intervention, epoch: int, seed: int) -> None:
    """A bit flip: one weight of the host is NaN."""
    if epoch == fault.epoch:
        env.host.head.weight[0, 0] = float("nan")


@torch.no_grad()
def _wiped_head(env: Environment, fault: Intervention, epoch: int, seed: int) -> None:
    """The host forgets: its classifier is zero, and its optimiser no longer moves. The seeds cannot make up for it."""
    if epoch == fault.epoch:
        env.host.head.weight.zero_()
        env.host.head.bias.zero_()
        for group in env.trainer.optimizers.host.param_groups:
            group["lr"] = 0.0


@torch.no_grad()
def _noisy_weights(env: Environment, fault: Intervention, epoch: int, seed: int) -> None:
    """Noise on every weight of the host, ``strength`` times the spread of the tensor."""
    if epoch == fault.epoch:
        _shake(env, fault.strength, seed)


@dataclass(frozen=True)
class _Severed:
    slot: Slot

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return Slot.forward(self.slot, features) if self.slot.enabled else torch.zeros_like(features)


@torch.no_grad()
def _hostage(env: Environment, fault: Intervention, epoch: int, seed: int) -> None:
    """The host leans on its seeds: switching one off also cuts the host's own path past it, so each seems vital.

    While one is blended in, the host stops learning and wears out until it is not better than ``margin`` allows. It is
    taken for stable from the start, so that seeds come early enough to be judged.
    """
    if epoch == 1:
        env.stability.is_stable = True
        env.accuracy_at_stability = env.val_accuracy
        for slot in env.host.slot_list:
            slot.forward = _Severed(slot)  # type: ignore[method-assign]  # the fault
    records = [life.record for life in env.lives.values() if life.stage in (Stage.BLENDING, Stage.HOLDING)]
    if not records:
        return
    for group in env.trainer.optimizers.host.param_groups:
        group["lr"] = 0.0
    limit = min(record.accuracy_at_germination for record in records if record is not None) + fault.margin
    if env.val_accuracy > limit:
        _shake(env, fault.strength, seed)


def _shake(env: Environment, strength: float, seed: int) -> None:
    stream = generator(derive_seed(seed, "chaos", env.episode_idx, env.inner_epoch))
    for parameter in env.host.own_parameters():
        noise = torch.randn(parameter.shape, generator=stream).to(parameter.device)
        parameter.add_(strength * parameter.std(unbiased=False) * noise)


_FOR_THE_ROUND: Final[dict[str, Callable[[Training, Intervention, list[torch.Tensor]], None]]] = {
    "lr_spike": _lr_spike,
    "entropy_sign": _entropy_sign,
    "memory_leak": _memory_leak,
}
_ON_THE_BATCH: Final[dict[str, Callable[[Batch, Intervention], Batch]]] = {
    "scaled_rewards": _scaled_rewards,
    "poisoned_reward": _poisoned_reward,
}
_ON_A_HOST: Final[dict[str, Callable[[Environment, Intervention, int, int], None]]] = {
    "nan_weights": _nan_weights,
    "wiped_head": _wiped_head,
    "noisy_weights": _noisy_weights,
    "hostage": _hostage,
}
KINDS: Final = (*_FOR_THE_ROUND, *_ON_THE_BATCH, *_ON_A_HOST)
"""Every fault, by name."""
