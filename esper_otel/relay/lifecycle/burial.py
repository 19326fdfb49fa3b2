"""Recording the end of a process that died, so that every reader of the log knows."""

from __future__ import annotations

import time
from typing import Final

from esper_otel.events import RunEnded
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import LockHeldError, WriterLock
from esper_otel.log.reading.last_seq import has_unread_end, resumed_seq
from esper_otel.log.writing.append import AppendFile

NO_SEGMENT_LIMIT: Final = 2**62


def bury(series: Series, event: RunEnded, run_id: str, seen: int) -> bool:
    """Append ``event`` to the log; False if a new process has continued the run, or ended it itself in the meantime.

    Args:
        series: the log.
        event: how the process ended.
        run_id: run of the line.
        seen: the greatest number of the rank's events that anybody has read.

    Raises:
        OSError: the log cannot be written.
    """
    lock = WriterLock(series.lock_path)
    try:
        lock.acquire()
    except LockHeldError:
        return False
    try:
        if has_unread_end(series, seen):
            return False
        lock.note(outcome=event.outcome)  # as the process had left it: the lock's file names its last holder
        _append(series, event, run_id, seen)
    finally:
        lock.release()
    return True


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
