"""Interventions that break a run at given rounds, so that detectors, governor and screens have something to find.

Nothing here emits anything. Each intervention does to weights, data or memory what a real fault does; the code that
watches every run finds what follows. Each forces its effect: the change is so large, or so exact, that the detector's
limit is passed whatever the seed, the processor's arithmetic and the policy's choices are. Its docstring says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch

from trainer.interventions import Intervention, Kind
from trainer.kasmina.alpha import AlphaTarget, Style, Tempo
from trainer.kasmina.facts import Provenance
from trainer.kasmina.gates import MIN_TRAINING_EPOCHS
from trainer.kasmina.slot import Slot
from trainer.seeding import derive_seed
from trainer.tamiyo.actions import Op
from trainer.tamiyo.policy import Policy
from trainer.tamiyo.rollout import Rollout
from trainer.tolaria.environment import Environment
from trainer.tolaria.governor import Governor

GIB: Final = 2**30

HALVINGS: Final = 40
"""Steps of the search for a bias: 100 / 2**40 is less than a float can resolve beside a logit."""

MOST_BIAS: Final = 100.0
"""A class whose logit is ahead by this is the answer to every image."""


class Chaos:
    """Carries out a recipe's interventions at their times."""

    def __init__(self, interventions: Sequence[Intervention]) -> None:
        self.interventions = tuple(interventions)
        self._ballast: list[torch.Tensor] = []
        self._sound_bias: dict[int, torch.Tensor] = {}

    def round_begins(self, batch_idx: int, policy: Policy) -> None:
        """Change the policy, or take memory, before a round. Both last to the end of the run."""
        for fault in self._due(batch_idx, _ON_THE_POLICY):
            _ON_THE_POLICY[fault.kind](policy, fault, self._ballast)

    def epoch_begins(self, batch_idx: int, epoch: int, envs: Sequence[Environment]) -> None:
        """Hit hosts before an epoch."""
        for fault in self._due(batch_idx, _ON_A_HOST):
            for env in envs:
                if fault.env_id in (None, env.env_id):
                    _ON_A_HOST[fault.kind](env, fault, epoch, self._sound_bias)

    def distort(self, batch_idx: int, rollout: Rollout) -> None:
        """Change the rollout that the policy is about to learn from."""
        for fault in self._due(batch_idx, _ON_THE_ROLLOUT):
            _ON_THE_ROLLOUT[fault.kind](rollout, fault)

    def _due(self, batch_idx: int, kinds: Mapping[Kind, object]) -> list[Intervention]:
        return [fault for fault in self.interventions if batch_idx in fault.rounds and fault.kind in kinds]


@torch.no_grad()
def _stuck_policy(policy: Policy, fault: Intervention, ballast: list[torch.Tensor]) -> None:
    """The policy always waits: its operation no longer depends on what it sees, and WAIT is ``strength`` nats ahead.

    Waiting is always allowed, so the entropy of the operation is below the number of operations times
    ``strength * exp(-strength)``; a few hundred steps of Adam move a logit by a few nats, far less than ``strength``.
    """
    head = policy.heads["op"]
    head.get_parameter("weight").zero_()
    head.get_parameter("bias").zero_()
    head.get_parameter("bias")[Op.WAIT] = fault.strength


def _memory_leak(policy: Policy, fault: Intervention, ballast: list[torch.Tensor]) -> None:
    """``strength`` GiB of the process's memory are taken and not given back: more than its budget allows."""
    ballast.append(torch.ones(int(fault.strength * GIB / torch.float32.itemsize), dtype=torch.float32))


def _poisoned_reward(rollout: Rollout, fault: Intervention) -> None:
    """The first reward is NaN: the advantages are normalised together, so every loss of the batch is NaN."""
    rollout.rewards[0] = torch.full_like(rollout.rewards[0], math.nan)


def _offset_rewards(rollout: Rollout, fault: Intervention) -> None:
    """Every reward is ``strength`` too large: each return and each error of the critic is larger by at least that.

    The gradient of the critic's last bias is the mean error times its coefficient, so it alone passes the limit of the
    gradient's norm; half the mean squared error passes that of the value loss.
    """
    rollout.rewards[:] = [rewards + fault.strength for rewards in rollout.rewards]


def _stale_log_probs(rollout: Rollout, fault: Intervention) -> None:
    """The noted log-probabilities of operations are wrong: too small by the factor ``strength``, next step too large.

    The first mini-batch is learned from by the policy that acted, so its ratios are ``strength`` and its inverse, up
    to rounding; the few small steps of the same update cannot make up for a hundredfold.
    """
    for step, drawn in enumerate(rollout.drawn):
        shift = math.log(fault.strength) * (-1.0 if step % 2 == 0 else 1.0)
        op = drawn.choices["op"][:, None]
        noted = drawn.log_probs["op"].scatter_add(-1, op, torch.full_like(op, shift, dtype=torch.float32))
        rollout.drawn[step] = replace(drawn, log_probs=drawn.log_probs | {"op": noted})


@torch.no_grad()
def _nan_weights(env: Environment, fault: Intervention, epoch: int, sound_bias: dict[int, torch.Tensor]) -> None:
    """A bit flip: one weight of the host is NaN, and with it every logit and the loss."""
    if epoch == fault.epoch:
        env.host.head.weight[0, 0] = math.nan


@torch.no_grad()
def _wiped_head(env: Environment, fault: Intervention, epoch: int, sound_bias: dict[int, torch.Tensor]) -> None:
    """The host forgets in the last epoch: its classifier is zero and does not learn again.

    All logits are equal, so accuracy is exactly the share of the first class, in every run and round. The governor is
    new, too: without a memory of losses it has nothing to restore and nothing to judge by.
    """
    if epoch == env.settings.episode_length:
        env.host.head.weight.zero_()
        env.host.head.bias.zero_()
        env.governor = Governor()
        _freeze(env)


@dataclass(frozen=True)
class _Severed:
    slot: Slot

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return Slot.forward(self.slot, features) if self.slot.enabled else torch.zeros_like(features)


@torch.no_grad()
def _hostage(env: Environment, fault: Intervention, epoch: int, sound_bias: dict[int, torch.Tensor]) -> None:
    """The host leans on useless seeds: switching one off also cuts the host's own path, so each seems vital.

    Every slot gets a seed without parameters in the first epoch, and the host learns no more: what it is worth with
    them is what it is worth without. As soon as they may be blended in, the host becomes ``margin`` percentage points
    better or worse than it was at germination, by a bias of its classifier that is searched for; without its path it
    has one answer for all images. A seed is judged one epoch after a ramp of three; by then the policy, which may prune
    from the fifth epoch on and one seed at a time, has reached two of the three slots at most.
    """
    head = env.host.head
    if epoch == 1:
        _freeze(env)
        sound_bias[env.env_id] = head.bias.clone()
        if fault.margin > 0.0:
            _lean(env, env.val_accuracy - fault.margin)
        env.val_loss, env.val_accuracy = env.trainer.measure()
        for slot_id, life in env.lives.items():
            life.slot.forward = _Severed(life.slot)  # type: ignore[method-assign]  # the fault
            life.germinate(
                env.next_seed_id(),
                "noop",
                Style.LINEAR_ADD,
                Tempo.FAST,
                AlphaTarget.FULL,
                env.val_accuracy,
                _provenance(env, slot_id),
            )
            life.advance(env.val_loss, _provenance(env, slot_id))
    elif epoch == 1 + MIN_TRAINING_EPOCHS:
        head.bias.copy_(sound_bias.pop(env.env_id))
        if fault.margin < 0.0:
            _lean(env, env.val_accuracy + fault.margin)
        for slot_id, life in env.lives.items():
            life.advance(env.val_loss, _provenance(env, slot_id))


def _lean(env: Environment, target: float) -> None:
    """Favour the first class by the least bias that brings validation accuracy down to ``target`` percent."""
    bias = env.host.head.bias
    sound, low, high = bias[0].clone(), 0.0, MOST_BIAS
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        bias[0] = sound + middle
        low, high = (middle, high) if env.trainer.measure()[1] > target else (low, middle)
    bias[0] = sound + high


def _freeze(env: Environment) -> None:
    for group in env.trainer.optimizers.host.param_groups:
        group["lr"] = 0.0


def _provenance(env: Environment, slot_id: str) -> Provenance:
    action_id = f"chaos-ep{env.episode_idx}-env{env.env_id}-{slot_id}"
    seed = derive_seed(env.base_seed, "chaos", env.episode_idx, slot_id)
    return Provenance(action_id=action_id, rng_stream=f"simic.chaos.env{env.env_id}", rng_seed=seed)


_ON_THE_POLICY: Final[dict[Kind, Callable[[Policy, Intervention, list[torch.Tensor]], None]]] = {
    "stuck_policy": _stuck_policy,
    "memory_leak": _memory_leak,
}
_ON_THE_ROLLOUT: Final[dict[Kind, Callable[[Rollout, Intervention], None]]] = {
    "poisoned_reward": _poisoned_reward,
    "offset_rewards": _offset_rewards,
    "stale_log_probs": _stale_log_probs,
}
_ON_A_HOST: Final[dict[Kind, Callable[[Environment, Intervention, int, dict[int, torch.Tensor]], None]]] = {
    "nan_weights": _nan_weights,
    "wiped_head": _wiped_head,
    "hostage": _hostage,
}
CARRIED_OUT: Final = (*_ON_THE_POLICY, *_ON_THE_ROLLOUT, *_ON_A_HOST)
"""The kinds that are carried out here: every one there is."""
