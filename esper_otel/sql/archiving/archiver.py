"""Archiving of a run: its closed segments, and at its end, or now and then, the one that grows.

The archive is the only memory: what it has of a log is looked up there, so a killed archiver, another one on another
machine, or two at once, continue from what is valid and repeat at most one segment, which becomes the same files.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import msgspec

from esper_otel.archive.address import Address
from esper_otel.archive.catalogue import current_keys
from esper_otel.archive.layout import Part, Place, decoded, lane_of, place_of, run_file, run_folder
from esper_otel.archive.store import ArchiveError, Store
from esper_otel.log.layout import RUN_FILE, Source, resolve
from esper_otel.log.manifest import MAX_BYTES
from esper_otel.log.opening import read_whole
from esper_otel.log.reading.marks import is_marked
from esper_otel.log.salvage import valid_text
from esper_otel.runs.places import Run, run_of
from esper_otel.sql.archiving.lane import Lane, lanes_of
from esper_otel.sql.archiving.segment import SegmentWriter, Written


class ForeignRunError(ValueError):
    """The archive holds another run of this name."""


class Done(msgspec.Struct, frozen=True):
    """Result of a step: segments that were archived, their lines, and the bytes of their files."""

    segments: int = 0
    lines: int = 0
    size_bytes: int = 0


class _Known(msgspec.Struct):
    """The end of one log in an archive.

    Attributes:
        closed: its last closed segment.
        tail: the one behind it, which may still grow.
        seen: size of that one's file when it was archived, and whether it was taken as over.
    """

    closed: Part | None = None
    tail: Part | None = None
    seen: tuple[int, bool] = (0, False)

    @property
    def next_number(self) -> int:
        return self.closed.segment + 1 if self.closed is not None else 1


class Archiver:
    """Brings an archive up to date with a run. Not thread-safe."""

    def __init__(
        self,
        run: Run,
        address: Address,
        scratch: Path,
        database: duckdb.DuckDBPyConnection,
        *,
        processes: int = 0,
        follows: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """Archive ``run`` as ``address.run``.

        Args:
            run: the run; must have a log.
            address: the archive, and the name that the run gets there.
            scratch: an empty directory for files on their way.
            database: makes the Parquet files.
            processes: helpers that convert lines; 0 for this process.
            follows: which ranks' logs.

        Raises:
            ArchiveError: the archive cannot be opened.
        """
        assert run.path is not None
        self._path = run.path
        self._run = run
        self._name = address.run
        self._store = Store(address, is_written=True)
        self._follows = follows
        self._scratch = scratch
        self._writer = SegmentWriter(self._name, self._store, scratch, database, processes)
        self._known: dict[str, _Known] = {}
        self._run_json = b""

    def step(self, *, tail: bool, is_over: bool = False) -> Done | None:
        """Archive one segment; None if the archive has all of them.

        Args:
            tail: archive the last segment of each log too, which may still grow; a later step archives it anew.
            is_over: nothing more comes, so that an unfinished last line counts as torn.

        Raises:
            ForeignRunError: the archive holds another run of this name.
            ArchiveError: the archive cannot be read or written.
            OSError: the log cannot be read, or the disk is full.
        """
        lanes = [(lane, self._known_of(lane)) for lane in self._lanes()]
        self._keep_run_json()
        for lane, known in lanes:
            number = next(iter(lane.numbers_from(known.next_number)), None)
            if number is None:
                continue
            located = lane.located(number)
            is_closed = located is not None and located.closed
            if is_closed or (tail and _has_grown(lane, number, known, is_over=is_over)):
                done = self._archive(lane, number, known, is_over=is_over and not is_closed)
                if done is not None:
                    return done
        return None

    def pending_bytes(self) -> int:
        """Bytes of closed segments, as they lie on disk, that the archive does not have as far as was looked up."""
        total = 0
        for lane in self._lanes():
            numbers = lane.numbers_from(self._known.get(lane.name, _Known()).next_number)
            closed = [number for number in numbers if (found := lane.located(number)) is not None and found.closed]
            total += sum(map(lane.size_of, closed))
        return total

    def _lanes(self) -> list[Lane]:
        found: list[Source] = resolve(self._path)
        return [lane for lane in lanes_of(found) if self._follows(lane.rank)]

    def _run_with(self, lane: Lane) -> Run:
        """The run, with the names for lines that do not say theirs; a rank may have begun a moment ago."""
        if lane.name not in self._run.run_ids:
            self._run = run_of(self._path)
        if self._name == name_of(self._run):
            return self._run
        return msgspec.structs.replace(self._run, run_ids=dict.fromkeys(self._run.run_ids, self._name))

    def _archive(self, lane: Lane, number: int, known: _Known, *, is_over: bool) -> Done | None:
        for path in self._scratch.iterdir():  # of a step that failed
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        known.seen = lane.size_of(number), is_over
        head = lane.head()
        if not head and number == 1:
            return None  # not a whole line yet
        written = self._writer.write(
            self._run_with(lane), lane, number, known.closed, head or _head_of(known), is_over=is_over
        )
        self._note(known, written)
        return Done(1, written.part.lines, written.size_bytes)

    def _note(self, known: _Known, written: Written) -> None:
        if known.tail is not None and known.tail.segment == written.part.segment:
            self._remove(known.tail, written.part)
        if written.part.closed:
            known.closed, known.tail = written.part, None
        else:
            known.tail = written.part

    def _remove(self, old: Part, new: Part) -> None:
        """Remove a description that another one replaced, then its files. Without the right to, they stay unread."""
        kept = {stored.name for files in new.tables.values() for stored in files}
        with contextlib.suppress(ArchiveError):
            if old.key != new.key:
                self._store.remove(old.key)
            for name in (stored.name for files in old.tables.values() for stored in files):
                if name not in kept:
                    self._store.remove(f"{old.folder}/{name}")

    def _known_of(self, lane: Lane) -> _Known:
        if lane.name not in self._known:
            self._known[lane.name] = self._looked_up(lane)
        return self._known[lane.name]

    def _looked_up(self, lane: Lane) -> _Known:
        """The end of a log in the archive, after a check that it is this log."""
        folder = f"{run_folder(self._name)}/rank={lane.rank}"
        keys = current_keys(item.key for item in self._store.items(folder))
        mine = [key for key in keys if (place := place_of(key)) is not None and _is_of(place, lane)]
        known = _Known()
        for key in reversed(mine):
            part = decoded(self._store.get(key), key)
            if part.closed:
                known.closed = part
                break
            known.tail = known.tail or part
        self._refuse_foreign(lane, known)
        return known

    def _refuse_foreign(self, lane: Lane, known: _Known) -> None:
        there, here = _head_of(known), lane.head()
        is_foreign = bool(there and here) and there != here
        mark = known.closed.resume.position.get("last") if known.closed is not None else None
        if mark is not None and not is_foreign:
            with contextlib.suppress(FileNotFoundError):
                is_foreign = not is_marked(lane.source, mark)
        if is_foreign:
            raise ForeignRunError(
                f"{self._store.url} holds another run named {self._name}: its {lane.name} has other lines. Give this"
                " run another name (--run-id, ESPER_OTEL_RUN_ID), or archive it elsewhere"
            )

    def _keep_run_json(self) -> None:
        """Copy ``run.json`` where it changed; the relay of rank 0 does."""
        if not self._follows(0) or not self._path.is_dir():
            return
        try:
            content = read_whole(self._path / RUN_FILE, MAX_BYTES)
        except OSError:
            return
        if content and content != self._run_json:
            self._store.put(run_file(self._name), content)
            self._run_json = content


def name_of(run: Run) -> str:
    """The name that a run gets unless another is given: that of its logs where they agree, else of its directory."""
    names = set(run.run_ids.values())
    assert run.path is not None
    return names.pop() if len(names) == 1 else valid_text(run.path.resolve().name)


def _head_of(known: _Known) -> str:
    part = known.closed or known.tail
    return part.head if part is not None else ""


def _has_grown(lane: Lane, number: int, known: _Known, *, is_over: bool) -> bool:
    """Return True if the last segment has more than the archive; what gave no whole line is not tried again."""
    size, tail = lane.size_of(number), known.tail
    archived = tail.end if tail is not None and tail.segment == number else 0
    return size > archived and (size, is_over) != known.seen


def _is_of(place: Place, lane: Lane) -> bool:
    return place.lane == lane_of(lane.name)
