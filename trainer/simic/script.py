"""Interference with a run: the hooks of the training loop through which a script can break it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trainer.tamiyo.policy import Policy
from trainer.tamiyo.rollout import Rollout
from trainer.tolaria.environment import Environment


class Script(Protocol):
    """Changes to a run at given times. Rounds and epochs count from 1."""

    def round_begins(self, batch_idx: int, policy: Policy) -> None:
        """Change the policy, or the process, before a round."""

    def epoch_begins(self, batch_idx: int, epoch: int, envs: Sequence[Environment]) -> None:
        """Change hosts before an epoch."""

    def distort(self, batch_idx: int, rollout: Rollout) -> None:
        """Change the data that the policy is about to learn from."""


class Undisturbed:
    """The script of an ordinary run: no change at all."""

    def round_begins(self, batch_idx: int, policy: Policy) -> None:
        """Leave the policy alone."""

    def epoch_begins(self, batch_idx: int, epoch: int, envs: Sequence[Environment]) -> None:
        """Leave the hosts alone."""

    def distort(self, batch_idx: int, rollout: Rollout) -> None:
        """Leave the rollout alone."""
