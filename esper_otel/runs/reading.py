"""Entries of the index: whether one is still true, and reading on where it is not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log import manifest
from esper_otel.log.envelope import BadLine
from esper_otel.log.layout import ranks_with_lock, resolve
from esper_otel.log.listing import STEP_S
from esper_otel.log.reading.marks import is_marked
from esper_otel.log.salvage import valid_text
from esper_otel.runs.entry import Entry, Known, Listed, Place, Told
from esper_otel.runs.facts import Facts, Observed
from esper_otel.runs.index import Index
from esper_otel.runs.places import is_one_run
from esper_otel.runs.signature import signature_of
from esper_otel.runs.summary import MAX_SETTING, Progress

_LINES: Final = 2000
_STEP_NS: Final = int(STEP_S * 1e9)
_TOLD: Final = ("tags", "notes", "host", "commit", "argv", "started_at", "ended_at")
_PROGRESS: Final = msgspec.msgpack.Decoder(Progress)


def is_in_place(known: Known, path: str) -> bool:
    """Return True if the directory at ``path`` is the one that the entry was made of, with the files of then.

    Whatever replaces or adds a file changes the directory, a new ``run.json`` as well. A directory that changed a
    moment before it was looked at may have changed once more since. A ``run.json`` that could not be read is tried
    again: rights and a mended file leave the directory as it is.
    """
    if known.noted_ns - known.modified_ns < _STEP_NS:
        return False
    try:
        status = os.stat(path)  # noqa: PTH116  # a hundred thousand of them
    except OSError:
        return False
    return status.st_mtime_ns == known.modified_ns and status.st_ino == known.inode


def has_its_logs(known: Known, path: str) -> bool:
    """Return True if no log in the directory at ``path`` grew or was changed since the entry was made."""
    try:
        for part in known.signature.split(" "):
            name = part.partition(":")[0]
            status = os.stat(f"{path}/{name}")  # noqa: PTH116
            if part != f"{name}:{status.st_size}:{status.st_mtime_ns}":
                return False
    except OSError:
        return False
    return True


class Trust(Enum):
    """Parts of the runs that are over, and not shown, that are taken for what they were."""

    NONE = 0
    LOGS = 1
    """Rank 0 of a session that continues a run writes its ``run.json`` anew, which changes the run's directory."""

    RUNS = 2
    """It also points ``latest`` at the run, which changes the directory of runs; that is the same here."""


class Entries:
    """Brings the entries of one index up to date.

    Attributes:
        read_bytes: size of the logs of which something was read.
        changed: number of entries that were made.
        over_changed: whether one of them is of a run that was over.
        index: the entries.
    """

    def __init__(self, index: Index, tell: Callable[[str], object]) -> None:
        """``tell`` gets a sentence for people about a ``run.json`` that cannot be read."""
        self.index = index
        self._tell = tell
        self._now_ns = time.time_ns()
        self.read_bytes = 0
        self.changed = 0
        self.over_changed = False

    def of(self, name: str, place: str, trust: Trust = Trust.NONE) -> Known | None:
        """The entry of the run at ``place``, as it is now; None if there is no run.

        Raises:
            OSError: it cannot be read.
            ValueError: only Parquet files are left of it.
        """
        known = self.index.runs.get(name)
        if known is None:
            return self._looked_at(name, Path(place), None)
        if trust is Trust.RUNS and known.is_over:
            return known
        if is_in_place(known, place) and (
            (trust is Trust.LOGS and known.is_over) or (has_its_logs(known, place) and not self._is_over_by_now(known))
        ):
            return known
        self.over_changed |= known.is_over
        return self._looked_at(name, Path(place), self.index.whole_entry(name))

    def _is_over_by_now(self, known: Known) -> bool:
        return known.noted_ns < known.settles_ns <= self._now_ns

    def _looked_at(self, name: str, path: Path, known: Entry | None) -> Known | None:
        status = path.stat()
        place = Place(status.st_ino, status.st_mtime_ns, time.time_ns())
        locks = tuple(ranks_with_lock(path)) if path.is_dir() else ()
        has_events = not path.is_dir() or is_one_run(path)
        if not has_events and not locks:
            return None
        told = _told(path)
        if told.problem:
            self._tell(told.problem)
        if not has_events:
            return self._begun(name, place, told, locks)
        try:
            now = signature_of(path)
        except FileNotFoundError:
            raise ValueError("its log was removed; 'esper-otel sql' reads the Parquet files that are left") from None
        listed = self._unchanged(known, now.text, place, told, locks)
        if listed is not None and known is not None:
            self.changed += not told.problem or known.listed is None or told != known.listed.told
            return self.index.keep(name, msgspec.structs.replace(known, listed=listed))
        self.changed += 1
        return self._read(name, path, now.text, known, place, told, locks)

    def _begun(self, name: str, place: Place, told: Told, locks: tuple[int, ...]) -> Known:
        """The entry of a run that has recorded no event: its start is that of ``run.json``."""
        from esper_otel.runs.summing import Summing  # takes as long to import as a list of known runs

        summary = Summing(Progress(first_us=_started_us(told))).summary(told.world_size)
        return self.index.note(name, "", None, Listed(place, summary, told, locks, _raw(Progress())), is_whole=False)

    def _unchanged(
        self, known: Entry | None, signature: str, place: Place, told: Told, locks: tuple[int, ...]
    ) -> Listed | None:
        """The entry with another place, where the logs are those that were read."""
        if known is None or known.listed is None or known.signature != signature:
            return None
        if known.listed.place.inode != place.inode:
            return None
        from esper_otel.runs.summing import Summing  # takes as long to import as a list of known runs

        progress = _PROGRESS.decode(known.listed.progress)
        return Listed(place, Summing(progress).summary(told.world_size), told, locks, known.listed.progress)

    def _read(
        self,
        name: str,
        path: Path,
        signature: str,
        known: Entry | None,
        place: Place,
        told: Told,
        locks: tuple[int, ...],
    ) -> Known:
        from esper_otel.log.reader import LogReader  # takes as long to import as a list of known runs
        from esper_otel.runs.summing import Summing

        facts, progress = self._known_of(path, signature, known, place)
        before = sum(position["offset"] for position in progress.positions.values())
        summing, observed = Summing(progress), Observed(facts.lost if facts is not None else {}, facts)
        with LogReader(path, follow=True, positions=progress.positions) as reader:
            while items := reader.read(_LINES):
                for item in items:
                    observed.add(item)
                    if not isinstance(item, BadLine):
                        summing.add(item)
            progress.positions = dict(reader.positions)
            self.read_bytes += max(sum(each["offset"] for each in progress.positions.values()) - before, 0)
            is_whole = reader.unread_bytes() == 0
        listed = Listed(place, summing.summary(told.world_size), told, locks, _raw(progress))
        return self.index.note(name, signature, observed.facts(signature), listed, is_whole=is_whole)

    def _known_of(self, path: Path, signature: str, known: Entry | None, place: Place) -> tuple[Facts | None, Progress]:
        """Known facts of a log that only grew since; None for any other."""
        if known is None or known.listed is None or known.listed.place.inode != place.inode:
            return None, Progress()
        facts, progress = self.index.facts_so_far(known), _PROGRESS.decode(known.listed.progress)
        if facts is None or not _has_grown(known.signature, signature) or not _are_marked(path, progress):
            return None, Progress()
        return facts, progress


def _are_marked(path: Path, progress: Progress) -> bool:
    """Return True if each log still has the last line that was read of it in its place."""
    marks = {name: position.get("last") for name, position in progress.positions.items()}
    return all(is_marked(source, mark) for source in resolve(path) if (mark := marks.get(source.name)) is not None)


def _has_grown(before: str, now: str) -> bool:
    """Return True if ``now`` has the logs of ``before`` and more: the last of them grew, or was closed since."""
    old, new = (dict(part.partition(":")[::2] for part in text.split(" ") if part) for text in (before, now))
    gone = [name for name, stamp in old.items() if new.get(name) != stamp]
    sizes = [sum(int(stamp.partition(":")[0]) for stamp in of.values() if ":" in stamp) for of in (old, new)]
    return all(name in new and not name.split(".")[-2].isdecimal() for name in gone) and sizes[1] > sizes[0]


def _told(path: Path) -> Told:
    problems: list[str] = []
    return told_by(manifest.read_or_tell(path, problems.append) if path.is_dir() else {}, problems)


def told_by(content: Mapping[str, Any], problems: Sequence[str]) -> Told:
    """The part of the ``content`` of a ``run.json`` that the list needs; ``problems``: why it is not all there."""
    size = content.get("world_size")
    rest = {name: content[name] for name in _TOLD if content.get(name) not in (None, [], "")}
    return Told(
        status=str(content.get("status") or ""),
        world_size=size if isinstance(size, int) and size > 0 else None,
        rest=_raw({**rest, "argv": _arguments(content.get("argv"))}),
        problem=valid_text("".join(problems)),
    )


def _started_us(told: Told) -> int | None:
    """Start of the session, Unix time in microseconds."""
    try:
        started = datetime.fromisoformat(str(msgspec.msgpack.decode(told.rest).get("started_at")))
        return int(started.timestamp() * 1e6)
    except (ValueError, OverflowError, OSError):  # there is none, or it is no time
        return None


def _arguments(argv: Any) -> list[str]:
    return [str(each)[:MAX_SETTING] for each in argv] if isinstance(argv, list) else []


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))
