"""Recording of events: from the training thread to the disk, without ever blocking the former.

Three stages, each bounded. The training thread appends an event to a queue, or copies its values there. One thread
encodes what is queued every 20 ms. A second thread writes. Encoding and writing are apart because a slow disk holds a
write for 100 ms and more: on one thread the queue of live events would grow meanwhile, and those can be bounded only by
number (65,000 policy updates are 400 MB), while encoded lines can be bounded by their bytes.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from esper_otel.events.declare import Event
from esper_otel.events.run import Heartbeat, TelemetryLoss
from esper_otel.log.compression.compress import compress_later, compress_left
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import LockHeldError, WriterLock
from esper_otel.log.queued import LegacyLines, Queued
from esper_otel.log.reading.last_seq import resumed_seq
from esper_otel.log.writing.append import AppendFile
from esper_otel.log.writing.beats import Beats
from esper_otel.log.writing.disk import Disk, LogTakenError
from esper_otel.log.writing.encoding import Encoding
from esper_otel.log.writing.idle import Idle
from esper_otel.log.writing.losses import Losses, LossReason, Speaker
from esper_otel.log.writing.queue import SLICE_COST, let_go
from esper_otel.log.writing.slices import Clock, Slices

ENCODE_EVERY_S: Final = 0.02
SLICE_PAUSE_S: Final = 1e-4
"""The encoder releases the interpreter between slices of 0.1 to 0.4 ms; otherwise it would keep it for 5 ms."""

LAST_SLICE_COST: Final = 16 * SLICE_COST
"""For the slices of a log that is closed, without pauses, which last milliseconds on a busy machine: nothing trains."""

LAST_LINES_S: Final = 0.5
"""Time that a close without time left gives to the lines that say what was lost and how the run ended."""

REPORT_EVERY_S: Final = 0.25
"""Continuing losses are summed up, so that their reports do not crowd out events."""


class Writer:
    """Writes the events of one rank of one run.

    Attributes:
        put: queues an event. Takes about 0.1 µs, never blocks, never raises; a full queue drops it and counts the loss.
            For any thread.
    """

    def __init__(
        self,
        run_dir: Path,
        run_id: str,
        rank: int = 0,
        *,
        buffer_bytes: int = 64 * 1024 * 1024,
        segment_bytes: int = 64 * 1024 * 1024,
        heartbeat_s: float = 5.0,
        compress: bool = False,
        legacy: LegacyLines | None = None,
        legacy_repeats: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
        settle: Callable[[list[Queued]], list[Queued]] = lambda items: items,
        clock: Clock = lambda: (time.time_ns() - time.monotonic_ns(), 0, 0, 0),
        on_open: Callable[[], None] = lambda: None,
        on_move: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """Take the log and start both threads.

        Args:
            run_dir: the run's directory; created if missing, also later.
            run_id: identity of the run.
            rank: rank of this process.
            buffer_bytes: encoded bytes that may wait for the disk.
            segment_bytes: size at which a segment is closed and the next begun.
            heartbeat_s: seconds between heartbeats; 0 for none.
            compress: whether closed segments are compressed (zstd, on a thread of its own).
            legacy: what turns events into lines under their old names; None writes new names alone.
            legacy_repeats: whether those lines come beside the new ones, so that they are repetitions.
            now_ns: clock for the writer's own events, Unix time in ns.
            settle: called on the encoder's thread with the events that are about to be encoded, to correct their times.
            clock: the same for events whose values were copied.
            on_open: called on the disk's thread whenever a file is about to be opened.
            on_move: called on the disk's thread with the new directory of a run that was renamed.

        Raises:
            LockHeldError: another living process writes the log of this rank.
        """
        self.losses = Losses()
        self.speaker = Speaker()
        self._series = Series(run_dir, rank)
        self._lock = WriterLock(self._series.lock_path)
        self._take_lock()
        self._encoding = Encoding(
            run_id,
            rank,
            resumed_seq(self._series),
            legacy=legacy,
            legacy_repeats=legacy_repeats,
            losses=self.losses,
            speaker=self.speaker,
        )
        self._now_ns = now_ns
        self._on_open = on_open
        self._on_move = on_move
        self._buffer_bytes = buffer_bytes
        self._slices = Slices(self._encoding, buffer_bytes, self._refuse, settle, clock)
        self._queue = self._slices.queue
        self._idle = Idle(self._queue)
        self.put = self._queue.put
        self._encoded_events = 0
        self._refused_events = 0
        self._refusing = threading.RLock()  # a signal handler may emit while its thread is in here
        # At once in a log that exists, or the last session's end would pass for the end of one that emits nothing.
        self._beats = Beats(heartbeat_s, at_once=bool(self._encoding.seq))
        self._reported_at_s = -REPORT_EVERY_S
        self._stop = threading.Event()
        self._deadline_s = math.inf
        self._is_finished = False
        self._is_quiet = threading.Event()  # and not is_alive(), which is wrong where Ctrl-C broke off a join()
        self._file = AppendFile(self._series, segment_bytes)
        self._thread = threading.Thread(target=self._run, name="esper-otel-encoder", daemon=True)
        with ExitStack() as failure:  # as where the system gives no more threads
            failure.callback(self._lock.release)
            self._disk = Disk(
                self._file,
                buffer_bytes=buffer_bytes,
                losses=self.losses,
                speaker=self.speaker,
                on_open=self._before_open,
                keep=self._keep,
                on_segment=compress_later if compress else lambda _: None,
            )
            failure.callback(self._disk.close, 0.1)
            self._thread.start()
            failure.pop_all()
        if compress:
            compress_left(self._series)

    def bind(self, recorder: Any, event: type[Event], group_id: str, severity: str | None) -> None:
        """Have ``recorder`` copy the values of ``event`` into the queue from now on, where that can be done."""
        self._slices.bind(recorder, event, group_id, severity)

    def refuse_copies(self) -> None:
        """Send every recorder back to Python, which knows what becomes of its events."""
        self._queue.is_open = False

    def close(self, last: Event | None = None, *, timeout_s: float = 2.0) -> None:
        """Write the queue, then ``last``, and release the log. Waits for at most about ``timeout_s`` and a second.

        What could not be written in time is counted, printed, and reported in the log before ``last``. An exception
        (Ctrl-C) may break it off; another call goes on.
        """
        self._deadline_s = deadline = time.monotonic() + timeout_s
        self.refuse_copies()
        self._stop.set()
        self._idle.wake()
        self._is_quiet.wait(timeout_s + LAST_LINES_S)
        while self._queue and self._is_quiet.is_set() and time.monotonic() < deadline:
            self._drain()
            time.sleep(ENCODE_EVERY_S)
        self._count_left()
        if self._is_quiet.is_set() and not self._is_finished:
            self._finish(last)
            self._is_finished = True
        self._disk.close(max(deadline - time.monotonic(), LAST_LINES_S))
        let_go(self._queue)
        if last is not None and (outcome := getattr(last, "outcome", None)):
            self._lock.note(outcome=outcome)  # where a full disk refused the line that says so
        self._lock.release()

    @property
    def emitted_events(self) -> int:
        """Number of events handed over, lost ones included."""
        return self._encoded_events + len(self._queue) + self._refused_events

    @property
    def written_events(self) -> int:
        """Number of events written."""
        return self._disk.written_events

    def _take_lock(self) -> None:
        try:
            self._series.directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError:
            return  # the disk's thread meets the same error, says it, and takes the lock when it is over

    def _keep(self) -> None:
        """Follow a renamed directory, and take the lock again if its file was removed."""
        self._follow_move()
        self._lock.keep(self.speaker.say_once)

    def _follow_move(self) -> None:
        """Continue in the renamed directory, which the lock tells while the log is not open."""
        if not self._file.is_open and (moved := self._lock.moved()) is not None:
            self._series.move(moved.parent)
        if self._file.follow_move() or self._lock.path != self._series.lock_path:
            self._lock.path = self._series.lock_path
            self._on_move(self._series.directory)

    def _before_open(self) -> None:
        self._follow_move()
        self._series.directory.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.renew()
        except LockHeldError as error:
            raise LogTakenError(error) from None
        self._on_open()

    def _refuse(self) -> None:
        with self._refusing:
            self._refused_events += 1
        failure = self._disk.failure
        if failure is None:
            self.losses.add(LossReason.BUFFER_FULL, 1, "events came faster than they could be written")
        else:
            self.losses.add(LossReason.WRITE_FAILED, 1, failure)

    def _count_left(self) -> None:
        """Count what is still queued at the end as lost, and print it."""
        cause = self._disk.failure or "the run ended before they could be written"
        if left := len(self._queue):
            self.losses.add(LossReason.WRITE_FAILED, left, cause)
            self.speaker.say_once("queued", f"{left} events are not in the log: {cause}")

    def _run(self) -> None:
        is_last = False
        while not is_last:
            try:
                self._idle.wait(self._beats.next_s())
                is_last = self._stop.wait(ENCODE_EVERY_S)
                self._beat()
                self._drain()
            except Exception as error:  # a thread that ended would take every later event with it
                cause = f"{type(error).__name__}: {error}"
                self.speaker.say_once("encoder", f"recording hit an error ({cause}) and resumed; no events lost")
        self._is_quiet.set()

    def _drain(self) -> None:
        while self._disk.has_room() and time.monotonic() < self._deadline_s:
            self._report_losses()
            count = self._hand_over()
            if not count or not self._queue:
                return
            if len(self._queue) < self._queue.limit // 2 and not self._stop.is_set():
                time.sleep(SLICE_PAUSE_S)

    def _hand_over(self) -> int:
        """Encode the first events and pass their lines to the disk; returns their number."""
        with self._slices.first(LAST_SLICE_COST if self._stop.is_set() else SLICE_COST) as (lines, written, count):
            if written:
                self._disk.hand_over(lines, written)
        self._encoded_events += count
        if count:
            self._idle.note_event()
        return count

    def _report_losses(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._reported_at_s < REPORT_EVERY_S:
            return
        for loss in self.losses.take_unreported():
            self._record(TelemetryLoss(reason=loss.reason.value, count=loss.count, detail=loss.detail))
            self._reported_at_s = time.monotonic()

    def _beat(self) -> None:
        if not self._disk.has_room() or not self._beats.take():
            return
        longest_s, self._disk.longest_write_s = self._disk.longest_write_s, 0.0
        self._record(
            Heartbeat(
                uptime_s=self._beats.uptime_s,
                emitted_events=self.emitted_events,
                pending_events=len(self._queue),
                pending_bytes=self._disk.pending_bytes,
                written_bytes=self._disk.written_bytes,
                write_time_ms=longest_s * 1e3,
            )
        )

    def _record(self, event: Event) -> None:
        """Write one of the log's own events, immediately and after everything encoded before."""
        self._disk.hand_over(self._encoding.line_of((event, self._now_ns(), "default", None, None)), 1)
        self._encoded_events += 1

    def _finish(self, last: Event | None) -> None:
        for line in self._encoding.held_lines(self._now_ns()):
            self._disk.hand_over(line, 1)
        self._report_losses(now=True)
        if last is not None:
            self._record(last)
