"""The index of a directory of runs: what is known of each, so that nobody reads all of them for a list or a query.

A file beside the runs, or in the user's cache directory where that cannot be written, replaced as a whole. It is
derived: an entry counts only as long as names, sizes and times of its run's logs are what they were; whatever is
missing, outdated or damaged is read and written anew. Of two processes that write it at once the later one wins, and
what the other knew is read again.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log.listing import names_in
from esper_otel.log.opening import written_whole
from esper_otel.runs.columns import Columns, columns_of
from esper_otel.runs.entry import NO_TYPES, Entry, Known, Listed
from esper_otel.runs.facts import Facts
from esper_otel.runs.stored import DamagedError, Head, Noted, Stored, content_of, entry_of

NAME: Final = ".runs_index.msgpack"

MIN_RUNS: Final = 20
"""Runs of one directory that are asked together before an index of them is kept: few are read as quickly."""


class Index:
    """The index of one directory of runs.

    Attributes:
        runs: what is asked of each run, by the name of its directory, or log file.
    """

    def __init__(self, directory: Path, *, is_loaded: bool = True) -> None:
        """Load it, unless it should begin without a run; without one it is empty as well."""
        self._directory = directory
        self._stored = _load(directory) if is_loaded else None
        head = self._stored.head if self._stored is not None else Head()
        self.runs = dict(zip(head.names, head.runs, strict=True))
        self._new: dict[str, bytes] = {}
        self._types = list(head.types)
        self._numbers = {types: number for number, types in enumerate(self._types)}

    def entry(self, name: str) -> Entry:
        """The entry of a run of :attr:`runs`.

        Raises:
            DamagedError: it is not what was written.
        """
        return entry_of(self._encoded(name))

    def whole_entry(self, name: str) -> Entry | None:
        """The same; None where it is damaged, or there is none."""
        try:
            return self.entry(name) if name in self.runs else None
        except DamagedError:
            return None

    def column(self, name: str) -> Mapping[str, Any]:
        """A value of every run whose entry is that of the file, by the run; empty where the file has no such column.

        Raises:
            DamagedError: it is not what was written.
        """
        if self._stored is None or name not in self._stored.head.columns:
            return {}
        found = dict(zip(self._stored.head.names, self._stored.column(name), strict=True))
        for changed in self._new:
            found.pop(changed, None)
        return found

    def has_column(self, name: str) -> bool:
        """Return True if a run that the file knows has a value under that name."""
        return self._stored is not None and name in self._stored.head.columns

    def _columns(self, names: Sequence[str]) -> Columns:
        stored = self._stored
        known: dict[str, Mapping[str, Any]] = {}
        is_known: set[str] = set()
        if stored is not None and not stored.head.is_cut:
            with contextlib.suppress(DamagedError):
                known = {column: self.column(column) for column in stored.head.columns}
                is_known = set(stored.head.names) - set(self._new) if known else set()
        return columns_of(names, lambda name: self.entry(name).listed, known if is_known else {}, is_known)

    def _encoded(self, name: str) -> bytes:
        new = self._new.get(name)
        if new is not None:
            return new
        assert self._stored is not None
        return self._stored.encoded(name)

    def is_of(self, now: Noted) -> bool:
        """Return True if all was found as it is here, and the directory is the same ``now``."""
        noted = self._stored.noted if self._stored is not None else None
        return noted is not None and noted.is_now(now)

    def is_as(self, noted: Noted) -> None:
        """Remember that all was found as it is here."""
        if self._stored is not None and not self.is_of(noted) and noted.is_now(noted):
            self._stored.note(noted)

    def facts(self, name: str, signature: str) -> Facts | None:
        """Facts about a run; None when its logs no longer match ``signature``, or more could be in them."""
        known = self.runs.get(name)
        if known is None or known.signature != signature:
            return None
        entry = self.whole_entry(name)
        return self.facts_so_far(entry) if entry is not None and entry.is_whole else None

    def facts_so_far(self, entry: Entry) -> Facts | None:
        """Facts about the part of a run that was read; None where they were too many to keep."""
        if not 0 <= entry.types < len(self._types):
            return None
        types = self._types[entry.types]
        return Facts(entry.signature, entry.run_ids, types, entry.first_us, entry.last_us, dict(entry.lost))

    def note(
        self, name: str, signature: str, facts: Facts | None, listed: Listed | None = None, *, is_whole: bool = True
    ) -> Known:
        """Remember what was read under ``signature``; what the list needs is kept where that has not changed."""
        if listed is None:
            known = self.whole_entry(name)
            listed = known.listed if known is not None and known.signature == signature else None
        if facts is None:
            entry = Entry(signature, (), NO_TYPES, None, None, {}, is_whole, listed)
        else:
            number = self._numbers.setdefault(facts.types, len(self._types))
            if number == len(self._types):
                self._types.append(facts.types)
            found = facts.run_ids, number, facts.first_us, facts.last_us, facts.lost
            entry = Entry(signature, *found, is_whole, listed)
        return self.keep(name, entry)

    def keep(self, name: str, entry: Entry) -> Known:
        """Remember an entry."""
        self._new[name] = msgspec.msgpack.encode(entry)
        known = self.runs[name] = Known.of(entry)
        return known

    def save(self, present: Iterable[str] | None = None) -> None:
        """Write it, for the runs that are ``present``. Where nothing can be written, nothing happens."""
        kept = set(names_in(self._directory) if present is None else present)
        entries: dict[str, bytes] = {}
        for name in self.runs:
            if name in kept:
                with contextlib.suppress(DamagedError):
                    entries[name] = self._encoded(name)
        runs = {name: self.runs[name] for name in entries}
        content = content_of(self._types, runs, list(entries.values()), self._columns(list(entries)))
        for path in _places(self._directory):
            with contextlib.suppress(OSError):
                if path.name != NAME:
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with written_whole(path) as file:
                    file.write(content)
                return


class RunIndex:
    """The indexes of all directories that some runs lie in."""

    def __init__(self, directories: Iterable[Path]) -> None:
        """Keep an index for those of ``directories``, the runs' own ones, that lie beside many others."""
        beside: dict[Path, int] = {}
        for directory in directories:
            beside[directory.parent] = beside.get(directory.parent, 0) + 1
        self._known = {parent: Index(parent) for parent, count in beside.items() if count >= MIN_RUNS}
        self._changed: set[Path] = set()

    def facts(self, directory: Path, signature: str) -> Facts | None:
        """Facts about the run in ``directory``; None when its logs no longer match ``signature``."""
        index = self._known.get(directory.parent)
        return index.facts(directory.name, signature) if index is not None else None

    def note(self, directory: Path, facts: Facts) -> None:
        """Remember ``facts`` of the run in ``directory``."""
        if directory.parent in self._known:
            self._known[directory.parent].note(directory.name, facts.signature, facts)
            self._changed.add(directory.parent)

    def save(self) -> None:
        """Write what is new. A directory that cannot be written is left as it is."""
        for parent in self._changed:
            self._known[parent].save()
        self._changed.clear()


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch Python's collector of cycles off: a hundred thousand entries, none in a cycle, would be visited often."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _places(directory: Path) -> tuple[Path, Path]:
    """Possible places of an index: beside the runs, or in the cache directory of the user."""
    absolute = os.path.realpath(directory)
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111, PTH117  # never raises
    name = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:32]
    return directory / NAME, cache / "esper-otel" / f"{name}{NAME}"


def _load(directory: Path) -> Stored | None:
    """The newer of the two that can be read: where the directory was closed to writers, its own one is old."""
    found: list[tuple[int, Path]] = []
    for path in _places(directory):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(found, reverse=True):
        with contextlib.suppress(OSError, ValueError, RecursionError), without_collector():
            return Stored(path)
    return None
