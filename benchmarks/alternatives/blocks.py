"""Blocks of training steps without and with recording, in the order A B B A, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

BLOCK_S: Final = 0.2
LONGEST_BLOCK_S: Final = 0.6
"""A block with recording that is far slower ends after so much time, with fewer steps."""

FEWEST_STEPS: Final = 3


class Cell(msgspec.Struct):
    """Measurements of one way, payload and rate.

    Attributes:
        quads: mean step times of the blocks of each A B B A, s.
        without, with_it: every step's time in s.
        events: events recorded.
        lost: those of them that were thrown away.
    """

    way: str
    payload: str
    rate: int
    quads: list[tuple[float, float, float, float]] = msgspec.field(default_factory=list)
    without: list[float] = msgspec.field(default_factory=list)
    with_it: list[float] = msgspec.field(default_factory=list)
    events: int = 0
    lost: int = 0


class Blocks:
    """Runs blocks of one training step."""

    def __init__(self, step: Callable[[], None], step_s: float, block_s: float = BLOCK_S) -> None:
        """``step_s``: undisturbed time of the step, from which events per step and steps per block follow."""
        self._step = step
        self._step_s = step_s
        self._steps = max(int(block_s / step_s), FEWEST_STEPS)
        self._owed = 0.0

    def without(self) -> list[float]:
        """Times of the steps of a block that records nothing, s."""
        return self._run(None, 0)[0]

    def with_it(self, record: Callable[[], object] | None, rate: float) -> tuple[list[float], int]:
        """Times of the steps of a block that records ``rate`` events a second of undisturbed training; how many."""
        return self._run(record, rate)

    def _run(self, record: Callable[[], object] | None, rate: float) -> tuple[list[float], int]:
        step, each, clock = self._step, rate * self._step_s, time.perf_counter
        times: list[float] = []
        recorded = 0
        until = clock() + LONGEST_BLOCK_S
        while len(times) < self._steps and (clock() < until or len(times) < FEWEST_STEPS):
            self._owed += each
            due = int(self._owed)
            self._owed -= due
            started = clock()
            step()
            if record is not None:
                for _ in range(due):
                    record()
            times.append(clock() - started)
            recorded += due
        return times, recorded


def mean(times: list[float]) -> float:
    """Mean of times."""
    return sum(times) / len(times)
