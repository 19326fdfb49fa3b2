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
_T: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's quantile at 0.975 by degrees of freedom, from 1."""


class Interval(msgspec.Struct, frozen=True):
    """An estimate and its 95 % interval."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True if the interval lies on one side of 0."""
        return self.low > 0.0 or self.high < 0.0


def of_difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of ``b`` minus mean of ``a``, both resampled; at least one value in each."""
    return _interval(
        fmean(b) - fmean(a),
        lambda draw: sum(draw.choices(b, k=len(b))) / len(b) - sum(draw.choices(a, k=len(a))) / len(a),
        min(len(a), len(b)),
    )


def of_pairs(differences: Sequence[float]) -> Interval:
    """Mean of differences between pairs, which are resampled; at least one."""
    return _interval(
        fmean(differences),
        lambda draw: sum(draw.choices(differences, k=len(differences))) / len(differences),
        len(differences),
    )


def of_rounds(differences: Sequence[float]) -> Interval:
    """Mean of differences between the same rounds of two runs, resampled in blocks because neighbours are alike."""
    size = max(round(len(differences) ** (1 / 3)), 1)
    blocks = [differences[start : start + size] for start in range(len(differences) - size + 1)]
    number = max(len(differences) // size, 1)
    return _interval(
        fmean(differences),
        lambda draw: fmean([value for block in draw.choices(blocks, k=number) for value in block]),
        number,
    )


def least_chance(a: int, b: int, *, paired: bool) -> float:
    """Chance, 0 to 1, that ``a`` and ``b`` runs without any difference part as clearly as runs can.

    Of pairs that all differ in one direction; of others that all of one side are above all of the other. A verdict
    cannot be surer than that, whatever the numbers are.
    """
    return min(2.0 ** (1 - a) if paired else 2.0 / math.comb(a + b, a), 1.0)


def _interval(estimate: float, resample: Callable[[random.Random], float], values: int) -> Interval:
    draw = random.Random(0)
    found = sorted(resample(draw) for _ in range(RESAMPLES))
    tail = NormalDist().cdf(-math.sqrt(values / (values - 1)) * _t(values - 1)) if values > 1 else 0.0
    last = RESAMPLES - 1
    return Interval(estimate, found[math.floor(tail * last)], found[math.ceil((1.0 - tail) * last)])


def _t(freedom: int) -> float:
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
