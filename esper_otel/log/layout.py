"""Where things lie in a run directory, and what a RUN argument means.

``DIR/<run_id>/events.jsonl`` is the active segment of rank 0, ``events.000001.jsonl`` its first closed one, and
``events.rank<N>…`` those of the other ranks. Closed segments may carry ``.gz`` or ``.zst``. The active segment has the
number after the last closed one, so that a position (segment, offset) stays right when the file is renamed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, Protocol

import msgspec

from esper_otel.log.listing import listing_of, names_in

COMPRESSED: Final = (".gz", ".zst")
RUN_FILE: Final = "run.json"
LATEST: Final = "latest"
TARGETS_FILE: Final = "prometheus_targets.json"
RELAY_DIRECTORY: Final = "relay"

_NAME: Final = re.compile(
    r"events(?:\.rank(?P<rank>[1-9]\d*))?(?:\.(?P<segment>\d{6,}))?\.jsonl(?P<suffix>\.gz|\.zst)?"
)
_LOCK_NAME: Final = re.compile(r"\.writer\.rank(?P<rank>0|[1-9]\d{0,8})\.lock")

_KNOWN_LISTINGS: Final = 8
"""Listings whose meaning is remembered: to take names apart takes longer than to list them."""


class Located(msgspec.Struct, frozen=True):
    """A file that holds a segment; ``closed`` when nothing more will be appended to it."""

    path: Path
    closed: bool


class Source(Protocol):
    """A series of segments of one producer."""

    name: str

    def numbers(self) -> list[int]:
        """Numbers of the segments that exist, ascending; the last is the one that grows, if any does."""

    def locate(self, segment: int) -> Located | None:
        """The file of ``segment``; None when there is none of that number."""

    def ends_before(self, segment: int) -> bool:
        """Whether the series is over without ever having a ``segment``."""

    def replacement_of(self, segment: int) -> int:
        """The segment to go on with, from its start, when another file took the place of the growing ``segment``."""


class Series:
    """The segments of one rank in a run directory."""

    def __init__(self, directory: Path, rank: int, *, is_followed: bool = False) -> None:
        """Nothing is opened and nothing need exist.

        ``is_followed``: whether the directory need not be listed for every look (:mod:`esper_otel.log.listing`).
        """
        self._list_names = listing_of(directory).names if is_followed else partial(names_in, directory)
        self.directory = directory
        self.rank = rank
        self._stem = "events" if rank == 0 else f"events.rank{rank}"
        self.name = f"{self._stem}.jsonl"
        self.active = directory / self.name
        self.lock_path = directory / f".writer.rank{rank}.lock"

    def closed_path(self, segment: int) -> Path:
        """Where the closed segment of that number lies, uncompressed."""
        return self.directory / f"{self._stem}.{segment:06d}.jsonl"

    def closed(self) -> dict[int, Path]:
        """The closed segments by number; the uncompressed file where a segment is there in both forms."""
        return {number: self.directory / name for number, name in self._closed().names.items()}

    def numbers(self) -> list[int]:
        """Numbers of the closed segments and of the active one."""
        closed = self._closed()
        return [*sorted(closed.names), closed.last + 1]

    def locate(self, segment: int) -> Located | None:
        """The file of ``segment``: closed, active, or None."""
        closed = self._closed()
        if segment in closed.names:
            return Located(self.directory / closed.names[segment], True)
        return Located(self.active, False) if segment == closed.last + 1 else None

    def ends_before(self, segment: int) -> bool:
        """Never: a later run of the same id may add to it."""
        return False

    def replacement_of(self, segment: int) -> int:
        """The same number where it exists again, else the oldest: the directory was made anew."""
        numbers = self.numbers()
        return segment if segment in numbers else numbers[0]

    def _closed(self) -> _Closed:
        return _read_names(self._list_names()).closed.get(self.rank, _NONE_CLOSED)


class _Closed(msgspec.Struct, frozen=True):
    """The names of a rank's closed segments by number, and the greatest number; 0 without any."""

    names: Mapping[int, str]
    last: int


class _Contents(msgspec.Struct, frozen=True):
    """What the names in a directory say: the segments of each rank that has a log, and the ranks that have a lock."""

    closed: Mapping[int, _Closed]
    locked: tuple[int, ...]


_NONE_CLOSED: Final = _Closed({}, 0)


@lru_cache(_KNOWN_LISTINGS)
def _read_names(names: tuple[str, ...]) -> _Contents:
    closed: dict[int, dict[int, str]] = {}
    whole: dict[int, dict[str | None, str]] = {}
    for match in filter(None, map(_NAME.fullmatch, names)):
        rank, suffix = int(match["rank"] or 0), match["suffix"]
        of_rank = closed.setdefault(rank, {})
        if match["segment"] is None:
            whole.setdefault(rank, {})[suffix] = match[0]
        elif suffix is None or int(match["segment"]) not in of_rank:
            of_rank[int(match["segment"])] = match[0]
    for rank, forms in whole.items():
        if None not in forms:  # somebody compressed a finished log
            closed[rank][max(closed[rank], default=0) + 1] = next(forms[form] for form in COMPRESSED if form in forms)
    locked = sorted(int(match["rank"]) for match in filter(None, map(_LOCK_NAME.fullmatch, names)))
    return _Contents(
        {rank: _Closed(found, max(found, default=0)) for rank, found in sorted(closed.items())}, tuple(locked)
    )


def ranks_with_lock(directory: Path) -> list[int]:
    """Ranks that a process of the run began to write, whether or not a line of theirs is there."""
    return [*_read_names(listing_of(directory).names()).locked]


class SingleFile:
    """One file as a series of its own; a file that takes its place is the next segment."""

    def __init__(self, path: Path, name: str) -> None:
        """``name`` is what positions and records call it."""
        self.path = path
        self.name = name
        self._compressed = path.suffix in COMPRESSED

    def numbers(self) -> list[int]:
        """Always the first: how often the file was replaced is not on disk."""
        return [1]

    def locate(self, segment: int) -> Located | None:
        """The file itself, whatever the number; a compressed file is one closed segment."""
        return None if self.ends_before(segment) else Located(self.path, self._compressed)

    def ends_before(self, segment: int) -> bool:
        """A compressed file is complete."""
        return self._compressed and segment > 1

    def replacement_of(self, segment: int) -> int:
        """Each file that takes the name is one more segment."""
        return segment + 1


def resolve(path: Path) -> list[Source]:
    """The logs that a RUN argument means.

    A run directory (all its ranks), one log file, a directory of runs with ``latest``, a telemetry directory of
    esper-lite (its newest run), or a directory of ``*.jsonl`` files.

    Raises:
        FileNotFoundError: nothing of the kind is there; the message says what was looked for.
    """
    if path.is_file():
        return [SingleFile(path, path.name)]
    if path.is_dir():
        found = _run(path) or _latest(path) or _esper_lite(path) or _loose(path)
        if found:
            return found
        raise FileNotFoundError(
            f"no event log in {path}: looked for events.jsonl, events.rank<N>.jsonl, {LATEST}/events.jsonl,"
            f" telemetry_*/events.jsonl and *.jsonl (also .gz and .zst)"
        )
    raise FileNotFoundError(f"{path} does not exist: a run directory, a .jsonl[.gz|.zst] file or a telemetry directory")


def _run(directory: Path) -> list[Source]:
    real = directory.resolve()  # a link to the latest run may point elsewhere tomorrow
    return [Series(real, rank, is_followed=True) for rank in _read_names(listing_of(real).names()).closed]


def _latest(directory: Path) -> list[Source]:
    latest = directory / LATEST
    return _run(latest) if latest.is_dir() else []


def _esper_lite(directory: Path) -> list[Source]:
    runs = sorted(path.parent for path in directory.glob("telemetry_*/events.jsonl*") if _is_log(path))
    return _run(runs[-1]) if runs else []


def _loose(directory: Path) -> list[Source]:
    paths = sorted(directory / name for name in listing_of(directory).names())
    return [SingleFile(path, path.name) for path in paths if _is_log(path)]


def _is_log(path: Path) -> bool:
    return path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst"))
