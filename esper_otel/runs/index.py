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
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.listing import names_in
from esper_otel.log.opening import read_whole, written_whole
from esper_otel.runs.entry import NO_TYPES, Entry, Known, Listed
from esper_otel.runs.facts import Facts

NAME: Final = ".runs_index.msgpack"
VERSION: Final = 4
MAX_BYTES: Final = 512 * 1024 * 1024

MIN_RUNS: Final = 20
"""Runs of one directory that are asked together before an index of them is kept: few are read as quickly."""

_SEAL_BYTES: Final = 4


class _Content(msgspec.Struct, array_like=True):
    version: int
    types: list[tuple[str, ...]]
    runs: dict[str, Known]


_DECODER: Final = msgspec.msgpack.Decoder(_Content)


class Index:
    """The index of one directory of runs.

    Attributes:
        runs: the entries by the name of the run's directory, or log file.
    """

    def __init__(self, directory: Path, *, is_loaded: bool = True) -> None:
        """Load it, unless it should begin without a run; without one it is empty as well."""
        self._directory = directory
        content = _load(directory) if is_loaded else _Content(VERSION, [], {})
        self.runs = content.runs
        self._types = content.types
        self._numbers = {types: number for number, types in enumerate(content.types)}

    def facts(self, name: str, signature: str) -> Facts | None:
        """Facts about a run; None when its logs no longer match ``signature``, or more could be in them."""
        known = self.runs.get(name)
        if known is None or known.signature != signature:
            return None
        entry = known.entry()
        return self.facts_so_far(entry) if entry.is_whole else None

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
        known = self.runs.get(name)
        if listed is None and known is not None and known.signature == signature:
            listed = known.entry().listed
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
        known = self.runs[name] = Known.of(entry)
        return known

    def save(self, present: Iterable[str] | None = None) -> None:
        """Write it, for the runs that are ``present``. Where nothing can be written, nothing happens."""
        kept = set(names_in(self._directory) if present is None else present)
        content = _Content(VERSION, self._types, {name: self.runs[name] for name in self.runs if name in kept})
        encoded = sealed(msgspec.msgpack.encode(content))
        for path in _places(self._directory):
            with contextlib.suppress(OSError):
                if path.name != NAME:
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with written_whole(path) as file:
                    file.write(encoded)
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


def sealed(content: bytes) -> bytes:
    """``content`` behind its checksum: what is decoded later, entry by entry, must be what was written."""
    return zlib.crc32(content).to_bytes(_SEAL_BYTES, "big") + content


def _unsealed(data: bytes) -> memoryview:
    """The content of a file of :func:`sealed`.

    Raises:
        ValueError: it is damaged.
    """
    content = memoryview(data)[_SEAL_BYTES:]
    if int.from_bytes(data[:_SEAL_BYTES], "big") != zlib.crc32(content):
        raise ValueError("the checksum of the index is wrong")
    return content


def _places(directory: Path) -> tuple[Path, Path]:
    """Possible places of an index: beside the runs, or in the cache directory of the user."""
    absolute = os.path.realpath(directory)
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111, PTH117  # never raises
    name = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:32]
    return directory / NAME, cache / "esper-otel" / f"{name}{NAME}"


def _load(directory: Path) -> _Content:
    """The newer of the two that can be read: where the directory was closed to writers, its own one is old."""
    found: list[tuple[int, Path]] = []
    for path in _places(directory):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(found, reverse=True):
        with contextlib.suppress(OSError, ValueError, RecursionError), without_collector():
            content = _DECODER.decode(_unsealed(read_whole(path, MAX_BYTES)))
            if content.version == VERSION:
                return content
    return _Content(VERSION, [], {})
