"""Cost tiers: schedule of the diagnostics (plan, Appendix E)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEVELS: Final = ("off", "low", "medium", "high")
"""Levels of a run: nothing beyond what training needs; available values; more every N batches; everything always."""

SIMILARITY_EVERY: Final = 4
"""Epochs between two comparisons of the seeds' outputs in a batch with full diagnostics."""


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Diagnostics to collect in one batch.

    Attributes:
        low: numbers of tensors that training computed anyway; they ride on a transfer that happens anyway.
        medium: extra kernels over gradients and seeds, still without an extra transfer in the update loop.
        high: the same at every epoch.
    """

    low: bool = True
    medium: bool = True
    high: bool = False

    def compares_seeds(self, epoch: int) -> bool:
        """Return True if the seeds' outputs are compared after ``epoch``, from 1."""
        return self.high or (self.medium and epoch % SIMILARITY_EVERY == 0)


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """A run's choice: ``level`` is one of :data:`LEVELS`, ``every`` the batches between full diagnostics."""

    level: str = "medium"
    every: int = 5

    def __post_init__(self) -> None:
        """Reject an invalid choice."""
        if self.level not in LEVELS:
            raise ValueError(f"diagnostics level {self.level!r} is not one of {', '.join(LEVELS)}")
        if self.every < 1:
            raise ValueError(f"diagnostics every {self.every} batches: the number must be 1 or more")

    def at(self, batch: int) -> Depth:
        """Diagnostics of batch number ``batch`` (from 1); the first batch has all of them."""
        rank = LEVELS.index(self.level)
        is_due = rank == 2 and (batch - 1) % self.every == 0
        return Depth(low=rank >= 1, medium=rank == 3 or is_due, high=rank == 3)
