"""The computation: the time of each rank, over all sessions of the run, by purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec


class Use(StrEnum):
    """Purpose of a stretch of time. The last one is what nothing measured."""

    STEPS = "useful steps"
    DATA = "waiting for data"
    EVALUATION = "evaluation"
    CHECKPOINTS = "checkpoints"
    STARTS = "starts and restarts"
    REDONE = "work done again"
    UNMEASURED = "not measured"


MEASURED: Final = tuple(use for use in Use if use is not Use.UNMEASURED)

_PREFIXES: Final = {
    "data_wait": Use.DATA,
    "dataloader": Use.DATA,
    "data_transfer": Use.DATA,
    "val": Use.EVALUATION,
    "eval": Use.EVALUATION,
    "test": Use.EVALUATION,
    "checkpoint": Use.CHECKPOINTS,
    "save": Use.CHECKPOINTS,
}


def use_of(phase: str) -> Use:
    """Purpose of a phase by its name; a name that says nothing else is a part of a step."""
    return next((use for prefix, use in _PREFIXES.items() if phase.lower().startswith(prefix)), Use.STEPS)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One training process of a rank; times are s since any common moment.

    Attributes:
        begins: start of the process.
        ends: its last event.
        progress: its first sign of progress; None without any.
        spent: measured times, s, by purpose; what was not measured is not there.
    """

    begins: float
    ends: float
    progress: float | None = None
    spent: Mapping[Use, float] = {}


class Goodput(msgspec.Struct, frozen=True, kw_only=True):
    """Time of a rank by purpose.

    Attributes:
        rank: the rank.
        wall_s: from the start of its first process to its last event.
        sessions: number of processes.
        spent_s: time by purpose; the times sum to ``wall_s``. A purpose that nothing measured is not there.
        overlaps: measured phases took longer than the wall time, as work on a device beside the host's does: they are
            scaled to it.
    """

    rank: int
    wall_s: float
    sessions: int
    spent_s: dict[Use, float]
    overlaps: bool = False

    @property
    def shares(self) -> dict[str, float]:
        """Share of the wall time by purpose; the shares sum to 1. Empty for a run without a duration."""
        return {str(use): spent / self.wall_s for use, spent in self.spent_s.items()} if self.wall_s > 0 else {}

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        spent = {str(use): seconds for use, seconds in self.spent_s.items()}
        absent = [str(use) for use in MEASURED if use not in self.spent_s]
        return {**msgspec.to_builtins(self), "spent_s": spent, "shares": self.shares, "not_measured": absent}


def goodput_of(rank: int, sessions: Sequence[Session]) -> Goodput:
    """Time by purpose of a rank whose ``sessions`` are in order and do not overlap."""
    wall = sessions[-1].ends - sessions[0].begins
    spent: dict[Use, float] = {}
    overlaps = False
    for number, session in enumerate(sessions):
        length = session.ends - session.begins
        measured = sum(session.spent.values())
        scale = min(1.0, length / measured) if measured > 0 else 1.0
        overlaps = overlaps or scale < 1.0
        for use, seconds in session.spent.items():
            spent[use] = spent.get(use, 0.0) + seconds * scale
        start = _start(session, length - measured * scale)
        gap = session.begins - sessions[number - 1].ends if number else 0.0
        if start is not None or number:
            spent[Use.STARTS] = spent.get(Use.STARTS, 0.0) + (start or 0.0) + gap
    spent[Use.UNMEASURED] = max(wall - sum(spent.values()), 0.0)
    ordered = {use: spent[use] for use in Use if use in spent}
    return Goodput(rank=rank, wall_s=wall, sessions=len(sessions), spent_s=ordered, overlaps=overlaps)


def _start(session: Session, free: float) -> float | None:
    """Time until the first progress, as far as no phase took it; None where there was no progress to see."""
    return None if session.progress is None else max(min(session.progress - session.begins, free), 0.0)
