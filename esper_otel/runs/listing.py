"""The list of runs: one row for each, with its state of now."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.archive.address import is_address
from esper_otel.log.reading.standing import RUNNING
from esper_otel.log.salvage import valid_text
from esper_otel.runs.entry import Entry, Known, Listed
from esper_otel.runs.index import MIN_RUNS, Index, without_collector
from esper_otel.runs.places import is_one_run
from esper_otel.runs.reading import Entries, Trust, has_its_logs, is_in_place
from esper_otel.runs.state import STALLED, state_of
from esper_otel.runs.stored import DamagedError, Noted
from esper_otel.runs.summary import OUTCOMES

LOGS: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst")

WORTH_BYTES: Final = 1024 * 1024
"""Logs that were read for a list, from which on an index of fewer than twenty runs is kept as well."""

FEW: Final = 1000
"""An index is written anew when more than one entry in so many changed."""

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
        if first is None or last is None:
            return None
        return (time.time() if self.state in {RUNNING, STALLED} else last / 1e6) - first / 1e6

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


Choose = Callable[[list["Row"]], Sequence["Row"]]
"""The rows that are shown, of all."""


def rows_in(directory: Path, tell: Callable[[str], object] = lambda _: None, *, keep: bool = True) -> Sequence[Row]:
    """The runs of ``directory``, in no order: a directory of runs, one run, one log file, or the address of an archive.

    Logs are only read.

    Args:
        directory: where they are.
        tell: called with a sentence for people about a ``run.json`` that cannot be read.
        keep: whether an index is kept, beside the runs or in the user's cache directory.

    Raises:
        OSError: the directory does not exist or cannot be listed.
    """
    return shown_in(directory, lambda rows: rows, tell, keep=keep)


def shown_in(
    directory: Path,
    choose: Choose,
    tell: Callable[[str], object] = lambda _: None,
    *,
    keep: bool = True,
    is_by_start: bool = False,
) -> Sequence[Row]:
    """The runs that ``choose`` returns of those of :func:`rows_in`.

    Of a run that ended long ago and is not among them the directory alone is looked at, not each log. Where the time of
    the start or the name alone decides, not even that, unless the directory of runs changed.

    Args:
        directory: where they are.
        choose: returns those that are shown; called once more if one of them is not what it was.
        tell: called with a sentence for people about a ``run.json`` that cannot be read.
        keep: whether an index is kept, beside the runs or in the user's cache directory.
        is_by_start: whether ``choose`` asks for nothing but starts and names.

    Raises:
        OSError: the directory does not exist or cannot be listed.
    """
    if is_address(directory):
        from esper_otel.runs.archived import archived_runs  # of no use to a directory

        archived = archived_runs(directory, tell)
        entries = {name: entry for name, _, entry in archived}
        return choose([Row(name, address, Known.of(entry), entries.__getitem__) for name, address, entry in archived])
    try:
        return _shown_in(directory, choose, tell, keep=keep, is_loaded=keep, is_by_start=is_by_start)
    except DamagedError:  # what is decoded when it is shown; without the index nothing is
        return _shown_in(directory, choose, tell, keep=keep, is_loaded=False, is_by_start=False)


def _shown_in(
    directory: Path, choose: Choose, tell: Callable[[str], object], *, keep: bool, is_loaded: bool, is_by_start: bool
) -> Sequence[Row]:
    if directory.is_file() or is_one_run(directory):
        entries = Entries(Index(directory.parent, is_loaded=is_loaded), tell)
        row = _row(entries, directory.name, str(directory))
        return _decoded(choose([] if row is None else [row]))
    with without_collector():
        status = directory.stat()  # before all else: what changes from now on changes it once more
        place = Noted(status.st_ino, status.st_mtime_ns, time.time_ns())
        index = Index(directory, is_loaded=is_loaded)
        entries = Entries(index, tell)
        trust = Trust.RUNS if is_by_start and index.is_of(place) else Trust.LOGS
        names = _names(directory)
        base = os.path.join(directory, "")  # noqa: PTH118  # a Path costs more than what is asked of it
        found = [row for name in names if (row := _row(entries, name, base + name, trust)) is not None]
        shown = choose(found)
        if not all(map(_is_current, shown)):
            trust = Trust.NONE
            found = [row for each in found if (row := _looked_at(entries, each)) is not None]
            shown = choose(found)
        _decoded(shown)
        if keep:
            _keep(index, entries, names, place, trust)
    return shown


def _decoded(rows: Sequence[Row]) -> Sequence[Row]:
    """``rows``, whose entries are what was written.

    Raises:
        DamagedError: one is not.
    """
    for row in rows:
        _ = row.listed
    return rows


def _keep(index: Index, entries: Entries, names: Sequence[str], place: Noted, trust: Trust) -> None:
    """Write the index, unless few entries of many changed: they are read as quickly as all are written."""
    is_new = entries.read_bytes > WORTH_BYTES or entries.changed > len(names) // FEW or entries.over_changed
    if is_new or len(index.runs) > len(names):
        if len(names) >= MIN_RUNS or entries.read_bytes > WORTH_BYTES:
            index.save(names)
    elif trust is not Trust.RUNS:
        index.is_as(place)


def _is_current(row: Row) -> bool:
    known = row.known
    return known is None or not known.is_over or (is_in_place(known, row.path) and has_its_logs(known, row.path))


def _looked_at(entries: Entries, row: Row) -> Row | None:
    """``row``, once the logs were looked at as well."""
    return _row(entries, row.run, row.path) if row.known is not None and row.known.is_over else row


def _names(directory: Path) -> list[str]:
    """Entries that may be runs; links to runs and hidden files are left out."""
    with os.scandir(directory) as found:
        return [
            entry.name
            for entry in found
            if not entry.name.startswith(".")
            and (entry.is_dir(follow_symlinks=False) or (entry.name.endswith(LOGS) and not entry.is_symlink()))
        ]


def _row(entries: Entries, name: str, path: str, trust: Trust = Trust.NONE) -> Row | None:
    try:
        known = entries.of(name, path, trust)
        return None if known is None else Row(name, path, known, entries.entry)
    except FileNotFoundError:  # removed a moment ago, or a directory of something else
        return None
    except (OSError, ValueError) as error:
        return Row(name, path, None, entries.entry, valid_text(str(error)))


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
