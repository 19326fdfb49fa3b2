"""When a host counts as stable: only then may the first seed germinate, so that growth is not credited with warm-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STABLE_EPOCHS: Final = 2
"""Epochs in a row without much progress that make a host stable."""

PROGRESS_LIMIT: Final = 0.12
"""Relative fall of the validation loss per epoch below which an epoch counts as stable; warm-up epochs fall 15-40 %."""


@dataclass
class Stabilization:
    """Follows the validation loss of one episode."""

    previous_loss: float | None = None
    stable_count: int = 0
    is_stable: bool = False

    def observe(self, val_loss: float) -> bool:
        """Take the loss of an epoch in nats; True exactly once, at the epoch that makes the host stable."""
        before, self.previous_loss = self.previous_loss, val_loss
        if self.is_stable or before is None:
            return False
        progress = (before - val_loss) / max(before, 1e-8)
        self.stable_count = self.stable_count + 1 if progress < PROGRESS_LIMIT else 0
        self.is_stable = self.stable_count >= STABLE_EPOCHS
        return self.is_stable
