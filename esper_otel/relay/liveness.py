"""How the run stands: running, stalled, ended, or dead without having said so.

A run of ours says when it ends. A process that was killed cannot; but the kernel releases the lock on its log, and
then the relay says it in its place, with a RUN_ENDED line, so that every reader of the log knows.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.events import Heartbeat, RunEnded, TrainingStarted
from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log import manifest
from esper_otel.log.append import AppendFile
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.last_seq import resumed_seq
from esper_otel.log.layout import Series, ranks_with_lock
from esper_otel.log.lock import LockHeldError, WriterLock, known_holder
from esper_otel.relay.ingest import Ingested
from esper_otel.settings import process_start
from esper_otel.signals.attributes import ATTRIBUTES

RUNNING: Final = "running"
STALLED: Final = "stalled"
DIED: Final = "died"

GRACE_S: Final = 1.0
"""How long a log may be without a writer before its process counts as dead: it is created first and locked then."""

SILENCE_S: Final = 15.0
"""Three heartbeats: where locks cannot be asked, a trainer that goes on writing is never taken for dead."""

NO_SEGMENT_LIMIT: Final = 2**62


class RankStatus(msgspec.Struct):
    """What is known of one rank; ``is_buried`` when its end was written but is not read yet."""

    run_id: str | None = None
    outcome: str | None = None
    progress_at: float = 0.0
    heard_at: float = 0.0
    is_buried: bool = False


class Liveness:
    """Watches the ranks of one run. ``directory`` is None for a log that is not a run directory of ours."""

    def __init__(self, directory: Path | None, *, stall_after_s: float, parent_pid: int | None = None) -> None:
        """``stall_after_s``: time without an event other than heartbeats after which a run counts as stalled.

        ``parent_pid``: the training process, where it started this one.
        """
        self._is_closed = False
        self._directory = directory
        self._stall_after_s = stall_after_s
        self._parent_pid = parent_pid
        self._missing_since: float | None = None
        self._ranks: dict[int, RankStatus] = {}
        self._unowned_since: dict[int, float] = {}

    def observe(self, line: Ingested) -> None:
        """Take note of one line."""
        record = line.record
        if record is None or not line.events:
            return
        status = self._ranks.get(record.rank)
        if status is None:
            status = self._ranks[record.rank] = RankStatus()
        now = time.monotonic()
        for event in line.events:
            if type(event) is RunEnded:
                status.outcome = event.outcome if event.outcome in RUN_OUTCOMES else "failed"
            elif type(event) is TrainingStarted:
                status.outcome = None
            if type(event) is not Heartbeat:
                status.progress_at = now
        status.run_id = record.run_id or status.run_id
        status.heard_at = now
        status.is_buried = False

    def snapshot(self) -> dict[str, Any]:
        """What must survive a restart of the relay; plain JSON."""
        return {str(rank): [status.run_id, status.outcome] for rank, status in self._ranks.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot; time without progress counts from now."""
        for rank, (run_id, outcome) in state.items():
            self._ranks[int(rank)] = RankStatus(run_id=run_id, outcome=outcome, progress_at=time.monotonic())

    @property
    def has_ended(self) -> bool:
        """Whether every rank seen has ended."""
        return bool(self._ranks) and all(status.outcome is not None for status in self._ranks.values())

    def close(self) -> None:
        """No more will come: a log that did not say how it ended has no state."""
        self._is_closed = True

    @property
    def state(self) -> str | None:
        """State of the run; the worst outcome of its ranks once all have ended, None when that cannot be known."""
        if self.has_ended:
            outcomes = {status.outcome for status in self._ranks.values()}
            return next((outcome for outcome in reversed(RUN_OUTCOMES) if outcome in outcomes), "finished")
        if self._is_closed:
            return None
        newest = max((status.progress_at for status in self._ranks.values()), default=time.monotonic())
        return STALLED if time.monotonic() - newest > self._stall_after_s else RUNNING

    def points(self) -> dict[tuple[str, ...], float]:
        """Value of ``esper.run.status`` for every state."""
        current = self.state
        return {(name,): float(name == current) for name in ATTRIBUTES["esper.run.state"].values}

    def report_dead(self, seen: Callable[[int], int]) -> list[int]:
        """Append RUN_ENDED for every rank whose process is gone; to be called when all of the log was read.

        ``seen`` tells the greatest number of a rank's events that this relay has read. Returns the ranks that were
        found dead.
        """
        if self._directory is None:
            return []
        if not self._directory.exists():
            return self._report_deleted()
        self._missing_since = None
        for rank in ranks_with_lock(self._directory):
            if rank not in self._ranks and self._is_abandoned(rank):  # killed before its first event reached the disk
                self._ranks[rank] = RankStatus(progress_at=time.monotonic())
        dead = []
        for rank, status in self._ranks.items():
            if status.outcome is None and not status.is_buried and self._is_abandoned(rank):
                self._bury(rank, status, seen(rank))
                dead.append(rank)
        return dead

    def _report_deleted(self) -> list[int]:
        """All ranks are dead where nobody makes a deleted run anew; a living trainer does with its next heartbeat."""
        now = time.monotonic()
        self._missing_since = self._missing_since or now
        is_orphan = self._parent_pid is not None and os.getppid() != self._parent_pid
        if now - self._missing_since <= (SILENCE_S if is_orphan else max(self._stall_after_s, SILENCE_S)):
            return []
        self._ranks = self._ranks or {0: RankStatus()}  # it may have been deleted before its first event
        dead = [rank for rank, status in self._ranks.items() if status.outcome is None]
        for rank in dead:
            self._ranks[rank].outcome = DIED
        return dead

    def _is_abandoned(self, rank: int) -> bool:
        assert self._directory is not None
        if not self._is_unowned(rank):
            self._unowned_since.pop(rank, None)
            return False
        since = self._unowned_since.setdefault(rank, time.monotonic())
        return time.monotonic() - since > GRACE_S

    def _is_unowned(self, rank: int) -> bool:
        """Whether the log of a rank has no living writer; no where that cannot be known."""
        assert self._directory is not None
        try:
            return known_holder(Series(self._directory, rank).lock_path) is None
        except FileNotFoundError:
            return False
        except OSError:  # a file system without locks: the manifest names the process of rank 0
            return rank == 0 and self._is_silent(rank) and _is_gone(self._directory)

    def _is_silent(self, rank: int) -> bool:
        """Whether even heartbeats stay away: in a container of its own the relay sees no process of the trainer's."""
        status = self._ranks.get(rank)
        return status is not None and time.monotonic() - status.heard_at > SILENCE_S

    def _bury(self, rank: int, status: RankStatus, seen: int) -> None:
        """Say in the log that the process died; where the log cannot be written, know it all the same."""
        assert self._directory is not None
        series = Series(self._directory, rank)
        event = RunEnded(
            outcome=DIED, detail="the training process is gone without having ended the run", reported_by="relay"
        )
        lock = WriterLock(series.lock_path)
        try:
            lock.acquire()
        except LockHeldError:
            return  # a new process goes on with the run
        except OSError:
            status.outcome = DIED
            return
        try:
            _append(series, event, status.run_id or self._directory.name, seen)
            status.is_buried = True
        except OSError:
            status.outcome = DIED
        finally:
            lock.release()


def _is_gone(directory: Path) -> bool:
    """Whether the process that the manifest names ran on this machine and is gone."""
    try:
        written = manifest.read(directory)
    except (OSError, ValueError):
        return False
    if written.get("host") != socket.gethostname() or not isinstance(written.get("pid"), int):
        return False
    return process_start(written["pid"]) != written.get("pid_start")


def _append(series: Series, event: RunEnded, run_id: str, seen: int) -> None:
    envelope = Envelope(
        timestamp_ns=time.time_ns(),
        group_id="default",
        severity="critical",
        message=event.detail,
        seq=resumed_seq(series, seen) + 1,
    )
    line, _ = LineEncoder(run_id, series.rank).encode(event, envelope)
    log = AppendFile(series, NO_SEGMENT_LIMIT)
    log.open()
    try:
        log.write(memoryview(line))
    finally:
        log.close()
