"""The rollout buffer: the policy's experience in one batch of episodes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from trainer.tamiyo.actions import HEADS
from trainer.tamiyo.gae import compute_gae
from trainer.tamiyo.policy import Drawn, Masks


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A rollout flattened to N = steps x environments rows, ready for updates.

    Attributes:
        observations: raw observations [N, D].
        masks: allowed actions.
        choices: chosen index by head [N].
        log_probs: log-probabilities of all choices at the time, by head [N, choices].
        values: value estimates at the time [N].
        rewards: rewards [N].
        advantages: advantages, not normalised [N].
        returns: lambda-returns A + V, the critic's targets [N].
        td_errors: temporal-difference errors [N].
    """

    observations: torch.Tensor
    masks: Masks
    choices: dict[str, torch.Tensor]
    log_probs: dict[str, torch.Tensor]
    values: torch.Tensor
    rewards: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    td_errors: torch.Tensor

    def __len__(self) -> int:
        """Number of rows."""
        return self.values.shape[0]

    def chosen_log_probs(self) -> torch.Tensor:
        """Log-probability of each head's choice at the time [N, 8], in the order of the heads."""
        return chosen_log_probs(self.log_probs, self.choices)


def chosen_log_probs(log_probs: dict[str, torch.Tensor], choices: dict[str, torch.Tensor]) -> torch.Tensor:
    """Log-probabilities [N, 8] of ``choices`` by head [N] under ``log_probs`` by head [N, choices]."""
    return torch.stack([log_probs[head].gather(-1, choices[head][:, None]).squeeze(-1) for head in HEADS], -1)


@dataclass
class Rollout:
    """Collects steps of N environments that run side by side until all their episodes end together."""

    observations: list[torch.Tensor] = field(default_factory=list)
    slot_ops: list[torch.Tensor] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    rewards: list[torch.Tensor] = field(default_factory=list)

    def add(self, observations: torch.Tensor, masks: Masks, drawn: Drawn, rewards: torch.Tensor) -> None:
        """Add one step: observations [N, D], allowed actions, drawn actions, rewards [N]."""
        self.observations.append(observations)
        self.slot_ops.append(masks.slot_ops)
        self.drawn.append(drawn)
        self.rewards.append(rewards)

    def finish(self, gamma: float, lam: float) -> Batch:
        """The batch. Every episode ends with the last step; time is part of the observation, so no value follows."""
        rewards = torch.stack(self.rewards)
        values = torch.stack([drawn.value for drawn in self.drawn])
        dones = torch.zeros_like(rewards)
        dones[-1] = 1.0
        estimate = compute_gae(
            rewards=rewards, values=values, dones=dones, last_value=torch.zeros_like(rewards[0]), gamma=gamma, lam=lam
        )
        return Batch(
            observations=torch.cat(self.observations),
            masks=Masks(slot_ops=torch.cat(self.slot_ops)),
            choices={head: torch.cat([drawn.choices[head] for drawn in self.drawn]) for head in HEADS},
            log_probs={head: torch.cat([drawn.log_probs[head] for drawn in self.drawn]) for head in HEADS},
            values=values.flatten(),
            rewards=rewards.flatten(),
            advantages=estimate.advantage.flatten(),
            returns=estimate.returns.flatten(),
            td_errors=estimate.td_error.flatten(),
        )
