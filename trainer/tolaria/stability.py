"""Stability of a host: only a stable one may germinate its first seed, so that growth gets no credit for warm-up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from trainer.tolaria.data import CLASSES

STABLE_EPOCHS: Final = 2
"""Epochs in a row without much progress that make a host stable."""

PROGRESS_LIMIT: Final = 0.08
"""Relative fall of the validation loss per epoch below which an epoch counts as stable."""

LEARNED: Final = 0.8 * math.log(CLASSES)
"""Loss in nats that a host must get below, 80 % of a guess: one that has not begun to learn is flat, not stable."""


@dataclass
class Stabilization:
    """Follows the validation loss of one episode."""

    previous_loss: float | None = None
    stable_count: int = 0
    is_stable: bool = False

    def observe(self, val_loss: float) -> bool:
        """Take the loss of an epoch in nats; True exactly once, at the epoch that makes the host stable."""
        before, self.previous_loss = self.previous_loss, val_loss
        if before is None or self.is_stable:
            return False
        progress = (before - val_loss) / max(before, 1e-8)
        is_flat = progress < PROGRESS_LIMIT and val_loss < LEARNED
        self.stable_count = self.stable_count + 1 if is_flat else 0
        self.is_stable = self.stable_count >= STABLE_EPOCHS
        return self.is_stable
