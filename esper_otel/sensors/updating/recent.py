"""The largest gradient norm that an optimizer has lately had, above which an update has exploded."""

from __future__ import annotations

import copy
import math
from typing import Final

FLOOR: Final = 0.3
"""Least norm to compare with: ten times as much is above every usual clipping limit, and below it no jump does harm."""

UNJUDGED: Final = 5
"""First updates, which say how large the norms are."""

FORGET: Final = 0.003
"""Part of its distance to the present norm, in logarithms, that the largest norm loses in an update."""

RISE: Final = 0.5
"""Most that it gains by one update, in logarithms, so that an explosion hides neither the next nor a lasting one."""


class RecentNorm:
    """Largest of the norms of one optimizer's updates, which is slowly forgotten.

    Healthy programs have norms over two decades, in patterns of hundreds of updates, but hardly one that is several
    times as large as all before it: ``docs/evidence/limits.md`` compares.
    """

    def __init__(self) -> None:
        """Start without a norm."""
        self._log = -math.inf
        self._count = 0

    def copy(self) -> RecentNorm:
        """One that goes on by itself."""
        return copy.copy(self)

    def excess(self, norm: float | None) -> float | None:
        """``norm`` over the largest of those before it; None if it is not finite or one of the first five.

        A norm of 0 says nothing about the size of others and changes nothing.
        """
        if norm is None or not math.isfinite(norm):
            return None
        if norm <= 0.0:
            return 0.0 if self._count >= UNJUDGED else None
        log = math.log(norm)
        found = norm / max(math.exp(self._log), FLOOR) if self._count >= UNJUDGED else None
        if self._count < UNJUDGED:
            self._count += 1
            self._log = max(log, self._log)
        elif log > self._log:
            self._log = min(log, max(self._log, math.log(FLOOR)) + RISE)
        else:
            self._log -= FORGET * min(self._log - log, 1.0)
        return found
