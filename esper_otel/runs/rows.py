"""A row of the list: a run with its state of now, and what is asked of it by the name of a column or setting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import msgspec

from esper_otel.log.reading.standing import RUNNING
from esper_otel.log.salvage import valid_text
from esper_otel.runs.entry import Entry, Known, Listed
from esper_otel.runs.state import STALLED, state_of
from esper_otel.runs.summary import OUTCOMES

NUMBERS: Final = (
    *("rounds", "updates", "sessions", "ranks", "duration_s"),
    *(f"{which}{name}" for name in OUTCOMES for which in ("", "best_")),
)
"""Columns that are numbers; ``best_reward`` is the best one, ``reward`` the last."""

TEXTS: Final = ("run", "state", "started_at", "last_seen_at", "host", "commit", "command", "notes")
COLUMNS: Final = (*TEXTS, *NUMBERS, "tags")
"""Columns that every run may have; any other name is that of a setting."""


class Row:
    """One run of the list. What is asked for is decoded then: a list has a hundred thousand of them.

    Attributes:
        run: name of its directory or file.
        path: where it is.
        known: its entry; None where it cannot be read.
        problem: why it cannot be read, else empty; a damaged ``run.json`` alone is a problem of ``listed.told``.
    """

    __slots__ = ("__dict__", "_entries", "known", "path", "problem", "run")

    def __init__(
        self, run: str, path: str, known: Known | None, entries: Callable[[str], Entry], problem: str = ""
    ) -> None:
        """``entries`` gives the entry of a run by its name."""
        self.run = run
        self.path = path
        self.known = known
        self._entries = entries
        self.problem = problem

    @cached_property
    def listed(self) -> Listed | None:
        """The part of its entry that is shown; None where it cannot be read."""
        return None if self.known is None else self._entries(self.run).listed

    @cached_property
    def state(self) -> str:
        """One of :data:`~esper_otel.runs.state.STATES`; empty where it cannot be read."""
        return "" if self.listed is None else state_of(self.path, self.listed)

    def value(self, column: str) -> Any:
        """The value of a column of :data:`COLUMNS`, or of a setting; None if the run has none."""
        listed = self.listed
        if column in {"run", "state"} or listed is None:
            return getattr(self, column, None) or None
        summary = listed.summary
        if column in _TIMES:
            return _time(getattr(summary, _TIMES[column]))
        if column == "duration_s":
            return self._duration_s(listed)
        if column in NUMBERS:
            name = column.removeprefix("best_")
            if name in OUTCOMES:
                outcome = getattr(summary, name)
                return outcome.last if name == column else outcome.best
            return getattr(summary, column)
        return self.told.get(column) if column in COLUMNS else self.settings.get(column)

    def order(self, column: str) -> Any:
        """Sort key of a value; of a time its number, which costs less than its text."""
        if column == "started_at":
            return None if self.known is None else self.known.started_us
        if column in _TIMES and self.listed is not None:
            return getattr(self.listed.summary, _TIMES[column])
        return self.value(column)

    @cached_property
    def told(self) -> dict[str, Any]:
        """Content of ``run.json``: tags, notes, host, commit, command."""
        if self.listed is None:
            return {}
        content = msgspec.msgpack.decode(self.listed.told.rest)
        argv = content.get("argv") or []
        return {**content, "command": " ".join(argv) or None}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Hyperparameters: options of the command, and what the start of the training says."""
        if self.listed is None:
            return {}
        return {**options_in(self.told.get("argv") or []), **msgspec.msgpack.decode(self.listed.summary.settings)}

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
        shown |= {name: self.value(name) for name in COLUMNS if name not in {"run", *_OUTCOME_COLUMNS}}
        for name in OUTCOMES:
            best, last = self.value(f"best_{name}"), self.value(name)
            shown[name] = None if last is None else {"best": _finite(best), "last": _finite(last)}
        shown["settings"] = {name: _finite(value) for name, value in self.settings.items()} or None
        return {name: value for name, value in shown.items() if value not in (None, "", [])}


_TIMES: Final = {"started_at": "first_us", "last_seen_at": "heard_us"}
_OUTCOME_COLUMNS: Final = frozenset(f"{which}{name}" for name in OUTCOMES for which in ("", "best_"))


def options_in(argv: list[str]) -> dict[str, str]:
    """Options of a command line, ``--lr 0.1`` or ``--lr=0.1``, by their names."""
    found = {}
    for number, word in enumerate(argv):
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name.isascii() or not name:
            continue
        following = argv[number + 1] if number + 1 < len(argv) else ""
        found[name.replace("-", "_")] = value if equals else following if not following.startswith("--") else "true"
    return {name: value or "true" for name, value in found.items()}


def _time(microseconds: int | None) -> str | None:
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
