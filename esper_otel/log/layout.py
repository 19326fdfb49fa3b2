"""Layout of a run directory, and resolution of a RUN argument.

``DIR/<run_id>/events.jsonl`` is the active segment of rank 0, ``events.000001.jsonl`` its first closed one, and
``events.rank<N>…`` those of the other ranks. Closed segments may carry ``.gz`` or ``.zst``. The active segment has the
number after the last closed one, so that a position (segment, offset) stays right when the file is renamed.
``findings.jsonl`` has what the relay found while it followed the run; the relay alone writes it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import msgspec

from esper_otel.log.foreign import refuse_foreign
from esper_otel.log.listing import listing_of, names_in
from esper_otel.log.opening import open_to_read

COMPRESSED: Final = (".gz", ".zst")
RUN_FILE: Final = "run.json"
LATEST: Final = "latest"
ESPER_LITE_RUNS: Final = "telemetry_*"
"""Directories of esper-lite's runs; the rest of the name is the time of the start."""

TARGETS_FILE: Final = "prometheus_targets.json"
RELAY_DIRECTORY: Final = "relay"
FINDINGS_FILE: Final = "findings.jsonl"

_NAME: Final = re.compile(
    r"events(?:\.rank(?P<rank>[1-9]\d*))?(?:\.(?P<segment>\d{6,}))?\.jsonl(?P<suffix>\.gz|\.zst)?"
)
_LOCK_NAME: Final = re.compile(r"\.writer\.rank(?P<rank>0|[1-9]\d{0,8})\.lock")

_MOST_LOOKED_AT: Final = 1000
_MOST_NAMED: Final = 3
"""Runs that are named where a directory of runs is given, and files that are looked at for them."""

_KNOWN_LISTINGS: Final = 8
"""Parsed listings kept in a cache: parsing names takes longer than listing them."""


def relay_directory(*, of_node: bool = False) -> str:
    """Name of a relay's directory in the run's.

    ``of_node``: whether the run has a relay on each of its nodes, so that the name is that of this one.
    """
    return f"{RELAY_DIRECTORY}.{socket.gethostname()}" if of_node else RELAY_DIRECTORY


class Located(msgspec.Struct, frozen=True):
    """File of a segment; ``closed`` if nothing more will be appended to it."""

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
        """Return True if the series is over without ever having a ``segment``."""

    def replacement_of(self, segment: int) -> int:
        """The segment to continue with, from its start, if another file replaced the growing ``segment``."""


class Series:
    """The segments of one rank in a run directory."""

    def __init__(self, directory: Path, rank: int, *, is_followed: bool = False) -> None:
        """Open nothing; nothing need exist.

        ``is_followed``: whether the directory need not be listed for every look (:mod:`esper_otel.log.listing`).
        """
        self._is_followed = is_followed
        self.rank = rank
        self._stem = "events" if rank == 0 else f"events.rank{rank}"
        self.name = f"{self._stem}.jsonl"
        self.move(directory)

    def move(self, directory: Path) -> None:
        """Switch to ``directory``: the run was renamed."""
        self._list_names = listing_of(directory).names if self._is_followed else partial(names_in, directory)
        self.directory = directory
        self.active = directory / self.name
        self.lock_path = directory / f".writer.rank{self.rank}.lock"

    def closed_path(self, segment: int) -> Path:
        """Path of the closed segment of that number, uncompressed."""
        return self.directory / f"{self._stem}.{segment:06d}.jsonl"

    def closed(self) -> dict[int, Path]:
        """The closed segments by number; the uncompressed file if a segment exists in both forms."""
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
        """The same number if it exists again, else the oldest: the directory was recreated."""
        numbers = self.numbers()
        return segment if segment in numbers else numbers[0]

    def _closed(self) -> _Closed:
        return _read_names(self._list_names()).closed.get(self.rank, _NONE_CLOSED)


class _Closed(msgspec.Struct, frozen=True):
    """The names of a rank's closed segments by number, and the greatest number; 0 without any."""

    names: Mapping[int, str]
    last: int


class _Contents(msgspec.Struct, frozen=True):
    """Meaning of the names in a directory: the segments of each rank with a log, and the ranks with a lock."""

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


def has_log(directory: Path) -> bool:
    """Return True if ``directory`` is a run directory rather than one of runs. Cheap, whatever else is in it.

    Raises:
        OSError: it cannot be listed.
    """
    return any(map(_NAME.fullmatch, _beginning_with(("events",), directory)))


def has_log_or_lock(directory: Path) -> bool:
    """Return True if ``directory`` has a log, or :func:`ranks_with_lock` a rank. Cheap, whatever else is in it.

    Raises:
        OSError: it cannot be listed.
    """
    names = _beginning_with(("events", ".writer"), directory)
    return any(_NAME.fullmatch(name) or _LOCK_NAME.fullmatch(name) for name in names)


def _beginning_with(starts: tuple[str, ...], directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(starts)]  # noqa: PTH208  # of 100,000 runs


def ranks_with_lock(directory: Path) -> list[int]:
    """Ranks that a process of the run began to write, even without a complete line."""
    return [*_read_names(listing_of(directory).names()).locked]


class SingleFile:
    """One file as a series of its own; a file that replaces it is the next segment."""

    def __init__(self, path: Path, name: str) -> None:
        """Create it; ``name`` identifies it in positions and records."""
        self.path = path
        self.name = name
        self._compressed = path.suffix in COMPRESSED

    def numbers(self) -> list[int]:
        """Always the first: the number of replacements is not on disk."""
        return [1]

    def locate(self, segment: int) -> Located | None:
        """The file itself for every number; a compressed file is one closed segment."""
        return None if self.ends_before(segment) else Located(self.path, self._compressed)

    def ends_before(self, segment: int) -> bool:
        """A compressed file is complete."""
        return self._compressed and segment > 1

    def replacement_of(self, segment: int) -> int:
        """Each file that takes the name is one more segment."""
        return segment + 1


def resolve(path: Path) -> list[Source]:
    """The logs of a RUN argument.

    A run directory (all its ranks, and the relay's findings), one log file, a directory of runs with ``latest``, a
    telemetry directory of esper-lite (its newest run), or a directory of ``*.jsonl`` files.

    Raises:
        FileNotFoundError: nothing of the kind exists; the message lists the names tried.
        OSError: the file cannot be opened, or is of another kind.
    """
    if path.is_file():
        with open_to_read(path) as file:
            refuse_foreign(file, path)
        return [SingleFile(path, path.name)]
    if path.is_dir():
        found = _run(path) or _latest(path) or _esper_lite(path) or _loose(path)
        if found:
            return found
        for begun in (path, path / LATEST):
            if (begun / RUN_FILE).is_file():
                raise FileNotFoundError(
                    f"no event log in {begun}: the run began, as its {RUN_FILE} says, and has recorded no event. It is"
                    " still starting, or it ended before its first event; 'esper-otel runs' has its state"
                )
        raise FileNotFoundError(
            f"no event log in {path}: looked for events.jsonl, events.rank<N>.jsonl, {LATEST}/events.jsonl,"
            f" telemetry_*/events.jsonl and *.jsonl (also .gz and .zst){_runs_below(path)}"
        )
    if path.exists():
        raise FileNotFoundError(f"{path} is no regular file: write what it gives to a file, and give that")
    raise FileNotFoundError(f"{path} does not exist: a run directory, a .jsonl[.gz|.zst] file or a telemetry directory")


def _runs_below(directory: Path) -> str:
    """Names of the first runs below ``directory``, for a message."""
    found = (path.parent for path in islice(directory.glob("*/events*.jsonl*"), _MOST_LOOKED_AT) if _is_log(path))
    names = list(dict.fromkeys(found))[:_MOST_NAMED]
    return f"; there are runs below it: {', '.join(map(str, names))}" if names else ""


def _run(directory: Path) -> list[Source]:
    real = directory.resolve()  # a link to the latest run may point elsewhere tomorrow
    names = listing_of(real).names()
    found: list[Source] = [Series(real, rank, is_followed=True) for rank in _read_names(names).closed]
    if found and FINDINGS_FILE in names:
        found.append(SingleFile(real / FINDINGS_FILE, FINDINGS_FILE))
    return found


def _latest(directory: Path) -> list[Source]:
    latest = directory / LATEST
    return _run(latest) if latest.is_dir() else []


def newest_esper_lite_run(directory: Path) -> Path | None:
    """The newest run in a telemetry directory of esper-lite, by its name; None without any."""
    return max(
        (path.parent for path in directory.glob(f"{ESPER_LITE_RUNS}/events.jsonl*") if _is_log(path)), default=None
    )


def _esper_lite(directory: Path) -> list[Source]:
    newest = newest_esper_lite_run(directory)
    return _run(newest) if newest is not None else []


def _loose(directory: Path) -> list[Source]:
    paths = sorted(directory / name for name in listing_of(directory).names())
    return [SingleFile(path, path.name) for path in paths if _is_log(path)]


def _is_log(path: Path) -> bool:
    return path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst"))
