"""The state of a run: running, stalled, ended, or dead without an end event.

It is derived from the present: the locks of the writers, the last lines, the time since. A stored word alone never
decides, because a run may be continued at any moment by any process that gets its lock. docs/reference/run-lifecycle.md
has the states and the evidence that moves a run from one to the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.events import FindingReported, Heartbeat, RunEnded
from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log import manifest
from esper_otel.log.duplicates import DUPLICATE
from esper_otel.log.layout import Series, ranks_with_lock
from esper_otel.log.locks.lock import note_in
from esper_otel.log.reading.standing import SILENCE_S, proving_silence_s
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.lifecycle.burial import bury
from esper_otel.relay.lifecycle.evidence import Writer, writer_of
from esper_otel.signals.attributes import ATTRIBUTES

RUNNING: Final = "running"
STALLED: Final = "stalled"
DIED: Final = "died"

GRACE_S: Final = 1.0
"""How long a log may be without a writer before its process counts as dead: it is created first and locked then."""

LOOK_S: Final = 0.25
"""Time between two looks at the locks: 500 ranks have as many files."""

_DETAIL: Final = "the training process exited without ending the run"
_UNWRITTEN: Final = "the training process ended the run but could not write that to its log"


class RankStatus(msgspec.Struct):
    """State of one rank as far as its log was read.

    Attributes:
        run_id: run that its lines name.
        outcome: how it ended; None while nothing says so, and again when anything comes after its end.
        heard_at: when its last line was read, monotonic, s.
        heard_ns: time of its last line, Unix ns, by its own clock.
        progress_ns: time of its last event other than a heartbeat, by the same clock.
        is_buried: its end was written here and is not read yet.
    """

    run_id: str | None = None
    outcome: str | None = None
    heard_at: float = msgspec.field(default_factory=time.monotonic)
    heard_ns: int = 0
    progress_ns: int = 0
    is_buried: bool = False

    def quiet_s(self) -> float:
        """Time without progress: up to its last line by the clock that wrote it, from then on by ours."""
        by_its_clock = max(self.heard_ns - self.progress_ns, 0) / 1e9 if self.progress_ns else 0.0
        return by_its_clock + self.silent_s()

    def silent_s(self) -> float:
        """Time since the last line."""
        return time.monotonic() - self.heard_at


class Liveness:
    """Watches the ranks of one run. ``directory`` is None for a log that is not a run directory of ours.

    Attributes:
        session: the training process that the manifest named at the last look.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        stall_after_s: float,
        parent_pid: int | None = None,
        follows: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """``stall_after_s``: time without an event other than heartbeats after which a run counts as stalled.

        ``parent_pid``: the training process, where it started this one. ``follows``: whether a rank is watched here.
        """
        self._is_closed = False
        self._directory = directory
        self._stall_after_s = stall_after_s
        self._parent_pid = parent_pid
        self._follows = follows
        self._begun_at = time.monotonic()  # this relay, or the newest session while none of its lines was read
        self._missing_since: float | None = None
        self._ranks: dict[int, RankStatus] = {}
        self._unowned_since: dict[int, float] = {}
        self._held: set[int] = set()
        self._looked_at = 0.0
        self._world_size: int | None = None
        self._proving_s = SILENCE_S
        self.session: manifest.Session | None = None

    def observe(self, line: Ingested) -> None:
        """Process one line. Any event after RUN_ENDED shows that the run continues."""
        record = line.record
        if record is None or line.reason == DUPLICATE or _is_of_relay(line):
            return
        status = self._ranks.get(record.rank)
        if status is None:
            status = self._ranks[record.rank] = RankStatus()
        ended = next((event for event in line.events if type(event) is RunEnded), None)
        status.outcome = None if ended is None else _known_outcome(ended.outcome)
        if not line.events or type(line.events[0]) is not Heartbeat or not status.progress_ns:
            status.progress_ns = record.timestamp_ns
        status.run_id = record.run_id or status.run_id
        status.heard_ns = record.timestamp_ns
        status.heard_at = time.monotonic()
        status.is_buried = False
        self._unowned_since.pop(record.rank, None)  # whoever wrote it had the lock, if only between two looks

    def snapshot(self) -> dict[str, Any]:
        """State that must survive a restart of the relay; plain JSON."""
        return {
            str(rank): [
                status.run_id,
                status.outcome,
                status.heard_ns,
                status.progress_ns,
                time.time() - status.silent_s(),
            ]
            for rank, status in self._ranks.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot; the time since counts as time without progress."""
        ranks = {}
        for rank, (run_id, outcome, heard_ns, progress_ns, heard_s) in state.items():
            ranks[int(rank)] = RankStatus(
                run_id=run_id,
                outcome=outcome,
                heard_at=time.monotonic() - max(time.time() - float(heard_s), 0.0),
                heard_ns=int(heard_ns),
                progress_ns=int(progress_ns),
            )
        self._ranks = ranks

    @property
    def has_ended(self) -> bool:
        """True if every rank of the run has ended and no process holds the lock of one."""
        members = self._members()
        return bool(members) and not self._held and all(status.outcome is not None for status in members)

    def stopped(self) -> dict[int, float]:
        """Time without a sign of life, or without progress, of each rank that stopped while its process lives, s."""
        found = {}
        for rank in self._held:
            status = self._ranks.get(rank)
            if status is None or status.outcome is not None:
                continue
            silent_s, quiet_s = status.silent_s(), status.quiet_s()
            if silent_s > self._proving_s or quiet_s > self._stall_after_s:
                found[rank] = max(silent_s, quiet_s)
        return found

    @property
    def is_continued(self) -> bool:
        """Return True if a process owns the run, or has written since it ended."""
        self.look()
        return bool(self._held) or any(status.outcome is None for status in self._members())

    def close(self) -> None:
        """Mark the log complete. Without a RUN_ENDED event the state is unknown."""
        self._is_closed = True

    def reopen(self) -> None:
        """Expect more again."""
        self._is_closed = False

    @property
    def state(self) -> str | None:
        """State of the run; the worst outcome of its ranks once all have ended, None if it is unknown."""
        if self.has_ended:
            outcomes = {status.outcome for status in self._members()}
            return next((outcome for outcome in reversed(RUN_OUTCOMES) if outcome in outcomes), "finished")
        if self._is_closed and not self._held:
            return None
        quiet_s = min(
            (status.quiet_s() for status in self._ranks.values() if status.outcome is None),
            default=time.monotonic() - self._begun_at,
        )
        return STALLED if quiet_s > self._stall_after_s else RUNNING

    def points(self) -> dict[tuple[str, ...], float]:
        """Value of ``esper.run.status`` for every state."""
        current = self.state
        return {(name,): float(name == current) for name in ATTRIBUTES["esper.run.state"].values}

    def look(self) -> None:
        """Check the locks of all ranks, unless that was done a moment ago."""
        now = time.monotonic()
        if self._directory is None or now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        self._read_manifest(self._directory)  # before the locks: a session that begins later is not the one that ended
        held: set[int] = set()
        for rank in {*self._ranks, *filter(self._follows, ranks_with_lock(self._directory))}:
            status = self._ranks.get(rank)
            silent_s = status.silent_s() if status is not None else now - self._begun_at
            found = writer_of(self._directory, rank, silent_s=silent_s, proving_s=self._proving_s)
            if found is Writer.HELD:
                held.add(rank)
            if found is not Writer.FREE:
                self._unowned_since.pop(rank, None)
            else:
                self._unowned_since.setdefault(rank, now)
        if held and not self._held:
            self._begun_at = now
        self._held = held

    def report_dead(self, seen: Callable[[int], int]) -> list[int]:
        """Append RUN_ENDED for every rank whose process is gone; call it once all of the log was read.

        ``seen`` tells the greatest number of a rank's events that this relay has read. Returns the ranks that were
        found dead.
        """
        if self._directory is None:
            return []
        if not self._directory.exists():
            return self._report_deleted()
        self._missing_since = None
        self.look()
        dead = []
        for rank in sorted(self._unowned_since):
            status = self._ranks.get(rank)
            if time.monotonic() - self._unowned_since[rank] <= GRACE_S:
                continue
            if status is None:  # killed before its first event reached the disk
                status = self._ranks[rank] = RankStatus()
            if status.outcome is None and not status.is_buried and self._bury(rank, status, seen(rank)):
                dead.append(rank)
        return dead

    def _read_manifest(self, directory: Path) -> None:
        try:
            content = manifest.read(directory)
        except (OSError, ValueError):
            return
        size = content.get("world_size")
        self._proving_s = proving_silence_s(content, self._stall_after_s)
        self._world_size = size if isinstance(size, int) and size > 0 else None
        self.session = manifest.session_of(content)

    def _members(self) -> list[RankStatus]:
        """The ranks that count: those of an earlier, larger session do not once they have ended."""
        size = self._world_size
        return [
            status
            for rank, status in self._ranks.items()
            if size is None or rank < size or status.outcome is None or rank in self._held
        ]

    def _report_deleted(self) -> list[int]:
        """All ranks are dead where nobody makes a deleted run anew; a living trainer does with its next heartbeat."""
        now = time.monotonic()
        self._held.clear()
        self._missing_since = self._missing_since or now
        is_orphan = self._parent_pid is not None and os.getppid() != self._parent_pid
        if now - self._missing_since <= (SILENCE_S if is_orphan else max(self._stall_after_s, SILENCE_S)):
            return []
        self._ranks = self._ranks or {0: RankStatus()}  # it may have been deleted before its first event
        dead = [rank for rank, status in self._ranks.items() if status.outcome is None]
        for rank in dead:
            self._ranks[rank].outcome = DIED
        return dead

    def _bury(self, rank: int, status: RankStatus, seen: int) -> bool:
        """Write the end of the process to the log, and record it even if that fails; returns True if it died."""
        assert self._directory is not None
        series = Series(self._directory, rank)
        noted = note_in(series.lock_path).outcome
        event = RunEnded(outcome=noted or DIED, detail=_UNWRITTEN if noted else _DETAIL, reported_by="relay")
        try:
            status.is_buried = bury(series, event, status.run_id or self._directory.name, seen)
        except OSError:
            status.outcome = _known_outcome(event.outcome)
        return (status.is_buried or status.outcome is not None) and not noted


def _is_of_relay(line: Ingested) -> bool:
    """Return True for a finding: its line is the relay's, and no sign of life of a rank."""
    return bool(line.events) and type(line.events[0]) is FindingReported


def _known_outcome(outcome: str) -> str:
    return outcome if outcome in RUN_OUTCOMES else "failed"
