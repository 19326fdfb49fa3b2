"""Intervals by resampling, in plain Python and the same for the same numbers.

A percentile interval is too narrow for few values. It is widened as Student's interval is wider than the normal one of
the plug-in spread (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 5.4).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean
from typing import Final

import msgspec

RESAMPLES: Final = 10_000
LEVEL: Final = 0.95


class Interval(msgspec.Struct, frozen=True):
    """An estimate and its interval.

    Attributes:
        estimate: the estimate.
        low: lower end of the interval.
        high: upper end.
        level: chance that such an interval contains the true value, 0 to 1.
    """

    estimate: float
    low: float
    high: float
    level: float

    @property
    def excludes_zero(self) -> bool:
        """True if the interval lies on one side of 0."""
        return self.low > 0.0 or self.high < 0.0


def of_difference(a: Sequence[float], b: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Mean of ``b`` minus mean of ``a``, both resampled; at least one value in each."""
    return _interval(
        fmean(b) - fmean(a),
        lambda draw: sum(draw.choices(b, k=len(b))) / len(b) - sum(draw.choices(a, k=len(a))) / len(a),
        min(len(a), len(b)),
        level,
    )


def of_pairs(differences: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Mean of differences between pairs, which are resampled; at least one."""
    return _interval(
        fmean(differences),
        lambda draw: sum(draw.choices(differences, k=len(differences))) / len(differences),
        len(differences),
        level,
    )


def of_rounds(differences: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Mean of differences between the same rounds of two runs, resampled in blocks because neighbours are alike."""
    size = max(round(len(differences) ** (1 / 3)), 1)
    blocks = [differences[start : start + size] for start in range(len(differences) - size + 1)]
    number = max(len(differences) // size, 1)
    return _interval(
        fmean(differences),
        lambda draw: fmean([value for block in draw.choices(blocks, k=number) for value in block]),
        number,
        level,
    )


def least_chance(a: int, b: int, *, paired: bool) -> float:
    """Chance, 0 to 1, that ``a`` and ``b`` runs without any difference part as clearly as runs can.

    Of pairs that all differ in one direction; of others that all of one side are above all of the other. A verdict
    cannot be surer than that, whatever the numbers are.
    """
    return min(2.0 ** (1 - a) if paired else 2.0 / math.comb(a + b, a), 1.0)


def _interval(estimate: float, resample: Callable[[random.Random], float], values: int, level: float) -> Interval:
    draw = random.Random(0)
    found = sorted(resample(draw) for _ in range(RESAMPLES))
    tail = 0.0
    if values > 1:
        tail = NormalDist().cdf(-math.sqrt(values / (values - 1)) * student_quantile(level, values - 1))
    last = RESAMPLES - 1
    return Interval(estimate, found[math.floor(tail * last)], found[math.ceil((1.0 - tail) * last)], level)


def student_quantile(level: float, freedom: int) -> float:
    """Value that Student's t stays within, on both sides, with chance ``level``, for ``freedom`` degrees of freedom."""
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Chance of an absolute value below ``t`` (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, is_odd = math.cos(angle), freedom % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for k in range(2 + is_odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    if is_odd:
        return 2.0 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
