"""Selection of the points of a long series to draw: few enough for a browser, never without the spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

LIMIT: Final = 2000
"""Points of one line; a wide screen has fewer columns."""


def drawn(values: Sequence[float | None], limit: int = LIMIT) -> list[int]:
    """Ascending indexes to draw of ``values``, at most about ``limit``.

    A short series is kept whole. A long one is cut into equal stretches, of each the smallest and the largest finite
    value and the first that is missing (None, NaN or infinite) are kept, and both ends of the series.
    """
    count = len(values)
    if count <= limit:
        return list(range(count))
    stretches = max(limit // 3, 1)
    kept = {0, count - 1}
    for number in range(stretches):
        stretch = range(number * count // stretches, (number + 1) * count // stretches)
        kept.update(_extremes(values, stretch))
    return sorted(kept)


def drawn_together(series: Sequence[Sequence[float | None]], limit: int = LIMIT) -> list[int]:
    """Ascending indexes to draw of series that are stacked and so need the same ones; at most about ``limit``."""
    each = max(limit // max(len(series), 1), 3)
    return sorted({index for values in series for index in drawn(values, each)})


def is_finite(value: float | None) -> bool:
    """Return True if ``value`` is present and finite."""
    return value is not None and math.isfinite(value)


def _extremes(values: Sequence[float | None], stretch: range) -> set[int]:
    found: set[int] = set()
    finite = [(value, index) for index in stretch if (value := values[index]) is not None and math.isfinite(value)]
    if finite:
        found |= {min(finite)[1], max(finite)[1]}
    missing = next((index for index in stretch if not is_finite(values[index])), None)
    return found if missing is None else found | {missing}
