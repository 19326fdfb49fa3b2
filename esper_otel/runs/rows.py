"""A row of the list: a run with its state of now, and what is asked of it by the name of a column or setting."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Protocol

from esper_otel.log.reading.standing import RUNNING
from esper_otel.log.salvage import valid_text
from esper_otel.runs.columns import LAST_SEEN, STATE
from esper_otel.runs.entry import Entry, Known, Listed
from esper_otel.runs.listed import COLUMNS, NUMBERS, OUTCOME_COLUMNS, number_in, settings_in, told_in
from esper_otel.runs.state import STALLED, state_of
from esper_otel.runs.summary import OUTCOMES


class Source(Protocol):
    """The place of the entries of some rows."""

    def entry(self, name: str) -> Entry:
        """The entry of a run."""

    def column(self, name: str) -> Mapping[str, Any]:
        """Values of a column or setting by run; of a run that is missing, its entry has the value."""

    def has_column(self, name: str) -> bool:
        """Return True if a run has a value under that name, as far as is known without a look at each."""


class Row:
    """One run of the list. What is asked for is decoded then: a list has a hundred thousand of them.

    Attributes:
        run: name of its directory or file.
        path: where it is.
        known: its entry; None where it cannot be read.
        problem: why it cannot be read, else empty; a damaged ``run.json`` alone is a problem of ``listed.told``.
    """

    __slots__ = ("__dict__", "known", "path", "problem", "run", "source")

    def __init__(self, run: str, path: str, known: Known | None, source: Source, problem: str = "") -> None:
        """``source`` has the run's entry."""
        self.run = run
        self.path = path
        self.known = known
        self.source = source
        self.problem = problem

    @cached_property
    def listed(self) -> Listed | None:
        """The part of its entry that is shown; None where it cannot be read."""
        return None if self.known is None else self.source.entry(self.run).listed

    @property
    def is_over(self) -> bool:
        """Return True if nobody continues it, as far as its directory tells."""
        return self.known is not None and self.known.is_over

    @cached_property
    def state(self) -> str:
        """One of :data:`~esper_otel.runs.state.STATES`; empty where it cannot be read."""
        return "" if self.listed is None else state_of(self.path, self.listed)

    def value(self, column: str) -> Any:
        """The value of a column of :data:`~.listed.COLUMNS`, or of a setting; None if the run has none."""
        found = self.order(column)
        return as_text(found) if column in TIMES else found

    def order(self, column: str) -> Any:
        """The same as it is sorted: a time in microseconds."""
        if column == "started_at":
            return None if self.known is None else self.known.started_us
        listed = self.listed
        if column in {"run", "state"} or listed is None:
            return getattr(self, column, None) or None
        if column == LAST_SEEN:
            return listed.summary.heard_us
        if column == "duration_s":
            return self._duration_s(listed)
        if column in NUMBERS:
            return number_in(listed, column)
        return self.told.get(column) if column in COLUMNS else self.settings.get(column)

    @cached_property
    def told(self) -> dict[str, Any]:
        """Content of ``run.json``: tags, notes, host, commit, command."""
        return {} if self.listed is None else told_in(self.listed)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Hyperparameters: options of the command, and what the start of the training says."""
        return {} if self.listed is None else settings_in(self.listed, self.told)

    def _duration_s(self, listed: Listed) -> float | None:
        first, last = listed.summary.first_us, listed.summary.heard_us
        now = time.time() * 1e6 if self.state in {RUNNING, STALLED} else last
        return None if first is None or now is None else (now - first) / 1e6

    def as_json(self) -> dict[str, Any]:
        """Plain data; what was not recorded is absent."""
        shown: dict[str, Any] = {
            "run": valid_text(self.run),
            "path": valid_text(self.path),
            "problem": self.problem or (self.listed.told.problem if self.listed is not None else None),
        }
        shown |= {name: self.value(name) for name in COLUMNS if name not in _SINGLE}
        for name in OUTCOMES:
            best, last = self.value(f"best_{name}"), self.value(name)
            shown[name] = None if last is None else {"best": _finite(best), "last": _finite(last)}
        shown["settings"] = {name: _finite(value) for name, value in self.settings.items()} or None
        return {name: value for name, value in shown.items() if value not in (None, "", [])}


def orders_of(rows: Sequence[Row], column: str) -> list[Any]:
    """:meth:`Row.order` of each of ``rows``, which have one source: from a column of it where there is one.

    Raises:
        DamagedError: the column, or an entry, is not what was written.
    """
    if not rows or column in {"run", "started_at"}:
        return [row.order(column) for row in rows]
    at_hand = rows[0].source.column(LAST_SEEN if column == "duration_s" else column)
    if column not in _OF_NOW:
        return [at_hand[row.run] if row.known and row.run in at_hand else row.order(column) for row in rows]
    value = _took_s if column == "duration_s" else _unchanged
    return [value(row, at_hand[row.run]) if row.is_over and row.run in at_hand else row.order(column) for row in rows]


def _unchanged(_: Row, value: Any) -> Any:
    return value


def _took_s(row: Row, last_us: int | None) -> float | None:
    first_us = row.known.started_us if row.known is not None else None
    return None if first_us is None or last_us is None else (last_us - first_us) / 1e6


TIMES: Final = frozenset({"started_at", LAST_SEEN})
_OF_NOW: Final = frozenset({STATE, "duration_s"})
"""Columns that change without a line in the log, until a run is over."""

_SINGLE: Final = frozenset({"run", *OUTCOME_COLUMNS})


def as_text(microseconds: int | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    if microseconds is None:
        return None
    try:
        return datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # a log may say any year
        return None


def _finite(value: Any) -> Any:
    """``value``; a number that is not finite as text, as in the log."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
