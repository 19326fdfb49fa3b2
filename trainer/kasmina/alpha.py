"""Blend weights: speed, target and curve with which a seed is mixed into its host."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class AlphaCurve(StrEnum):
    """Shape of a ramp over its own duration."""

    LINEAR = "LINEAR"
    COSINE = "COSINE"
    SIGMOID_GENTLE = "SIGMOID_GENTLE"
    SIGMOID = "SIGMOID"
    SIGMOID_SHARP = "SIGMOID_SHARP"


class AlphaAlgorithm(StrEnum):
    """Algorithm that combines a seed's output with the host's features."""

    ADD = "ADD"
    MULTIPLY = "MULTIPLY"
    GATE = "GATE"


class AlphaTarget(Enum):
    """Blend weight at the end of a ramp."""

    HALF = 0.5
    SEVENTY = 0.7
    FULL = 1.0


class AlphaSpeed(Enum):
    """Length of a ramp in epochs."""

    INSTANT = 0
    FAST = 3
    MEDIUM = 5
    SLOW = 8


class Tempo(Enum):
    """Length in epochs of the first ramp, chosen at germination."""

    FAST = 3
    STANDARD = 5
    SLOW = 8


class Style(Enum):
    """Way of blending chosen at germination: the ramp's curve and the algorithm."""

    LINEAR_ADD = ("linear", AlphaCurve.LINEAR, AlphaAlgorithm.ADD)
    LINEAR_MULTIPLY = ("linear", AlphaCurve.LINEAR, AlphaAlgorithm.MULTIPLY)
    SIGMOID_ADD = ("sigmoid", AlphaCurve.SIGMOID, AlphaAlgorithm.ADD)
    GATED_GATE = ("gated", AlphaCurve.COSINE, AlphaAlgorithm.GATE)

    @property
    def blend_id(self) -> str:
        """Family of the blend: linear, sigmoid or gated."""
        return self.value[0]

    @property
    def curve(self) -> AlphaCurve:
        """Curve of the first ramp."""
        return self.value[1]

    @property
    def algorithm(self) -> AlphaAlgorithm:
        """Algorithm that mixes in the seed's output."""
        return self.value[2]


# Steepness k of 1 / (1 + exp(-k (t - 1/2))): at 6 the middle half of the ramp covers 64 % of the way, at 24 all of it.
_STEEPNESS: Final = {AlphaCurve.SIGMOID_GENTLE: 6.0, AlphaCurve.SIGMOID: 12.0, AlphaCurve.SIGMOID_SHARP: 24.0}


def shape(curve: AlphaCurve, progress: float) -> float:
    """Share of the ramp covered at ``progress`` in [0, 1]: exactly 0 at 0, exactly 1 at 1, never falling."""
    t = min(max(progress, 0.0), 1.0)
    if curve is AlphaCurve.LINEAR:
        return t
    if curve is AlphaCurve.COSINE:
        return 0.5 * (1.0 - math.cos(math.pi * t))
    k = _STEEPNESS[curve]
    low, high = _logistic(-k / 2), _logistic(k / 2)
    return (_logistic(k * (t - 0.5)) - low) / (high - low)


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


@dataclass(frozen=True, kw_only=True)
class AlphaSchedule:
    """A ramp from ``start`` to ``target`` (both in [0, 1]) over ``steps`` epochs; 0 steps is a jump."""

    start: float
    target: float
    steps: int
    curve: AlphaCurve

    def at(self, step: int) -> float:
        """Blend weight after ``step`` epochs; exactly ``target`` from the last one on."""
        if step >= self.steps:
            return self.target
        return self.start + (self.target - self.start) * shape(self.curve, step / self.steps)

    def is_done(self, step: int) -> bool:
        """Return True if the ramp has ended after ``step`` epochs."""
        return step >= self.steps
