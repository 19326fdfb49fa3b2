"""Recording events: from the training thread to the disk, without ever holding up the former.

Three stages, each bounded. The training thread appends a tuple to a queue. One thread encodes what is queued every
20 ms. A second thread writes. Encoding and writing are apart because a slow disk holds a write for 100 ms and more:
on one thread the queue of live events would grow meanwhile, and those can be bounded only by number (65,000 policy
updates are 400 MB), while encoded lines can be bounded by their bytes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from esper_otel.events.declare import Event
from esper_otel.events.run import Heartbeat, TelemetryLoss
from esper_otel.log.append import AppendFile
from esper_otel.log.compress import compress_later
from esper_otel.log.disk import Disk, LogTakenError
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.last_seq import resumed_seq
from esper_otel.log.layout import Series
from esper_otel.log.lock import LockHeldError, WriterLock
from esper_otel.log.losses import Losses, LossReason, Speaker
from esper_otel.log.queued import ForeignEvent, LegacyLines, Queued

ENCODE_EVERY_S: Final = 0.02
SLICE_EVENTS: Final = 64
SLICE_PAUSE_S: Final = 1e-4
"""Between slices of 0.1 to 0.4 ms the encoder lets go of the interpreter, which it would otherwise keep for 5 ms."""

REPORT_EVERY_S: Final = 0.25
"""Losses that go on are summed up, so that reports of them do not crowd out events."""

MAX_QUEUED_EVENTS: Final = 65_536
MIN_QUEUED_EVENTS: Final = 1024


class Writer:
    """Writes the events of one rank of one run. ``put`` may be called from any thread."""

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
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the log and start both threads.

        Args:
            run_dir: the run's directory; made when it is missing, also later on.
            run_id: identity of the run.
            rank: rank of this process.
            buffer_bytes: encoded bytes that may wait for the disk.
            segment_bytes: size at which a segment is closed and the next begun.
            heartbeat_s: seconds between heartbeats; 0 for none.
            compress: whether closed segments are compressed (zstd, on a thread of its own).
            legacy: what turns events into lines under their old names; None writes new names alone.
            legacy_repeats: whether those lines come beside the new ones, so that they are repetitions.
            now_ns: clock for the writer's own events, Unix time in ns.
            on_open: called on the disk's thread whenever a file is about to be opened.

        Raises:
            LockHeldError: another living process writes the log of this rank.
        """
        self.losses = Losses()
        self.speaker = Speaker()
        self._series = Series(run_dir, rank)
        self._lock = WriterLock(self._series.lock_path)
        self._take_lock()
        self._seq = resumed_seq(self._series)
        self._run_id = run_id
        self._rank = rank
        self._encoder = LineEncoder(run_id, rank)
        self._legacy = legacy
        self._legacy_repeats = legacy_repeats
        self._now_ns = now_ns
        self._on_open = on_open
        self._buffer_bytes = buffer_bytes
        self._queue: deque[Queued] = deque()
        self._queue_limit = MAX_QUEUED_EVENTS
        self._encoded_events = 0
        self._refused_events = 0
        self._refusing = threading.RLock()  # a signal handler may emit while its thread is in here
        self._heartbeat_s = heartbeat_s
        self._started_s = self._heartbeat_at_s = time.monotonic()
        self._reported_at_s = -REPORT_EVERY_S
        self._stop = threading.Event()
        self._disk = Disk(
            AppendFile(self._series, segment_bytes),
            buffer_bytes=buffer_bytes,
            losses=self.losses,
            speaker=self.speaker,
            on_open=self._before_open,
            on_segment=compress_later if compress else lambda _: None,
        )
        self._thread = threading.Thread(target=self._run, name="esper-otel-encoder", daemon=True)
        self._thread.start()

    def put(self, item: Queued) -> None:
        """Queue an event. Takes about 0.1 µs, never blocks, never raises; a full queue refuses it and counts that."""
        if len(self._queue) < self._queue_limit:
            self._queue.append(item)
        else:
            self._refuse()

    def close(self, last: Event | None = None, *, timeout_s: float = 2.0) -> None:
        """Write what was queued, then ``last``, and give the log back. Waits for at most about ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        self._stop.set()
        self._thread.join(timeout_s)
        while self._queue and not self._thread.is_alive() and time.monotonic() < deadline:
            self._drain()
            time.sleep(ENCODE_EVERY_S)
        if self._queue:
            self.losses.add(LossReason.WRITE_FAILED, len(self._queue), "the run ended before they could be written")
        if not self._thread.is_alive():
            self._finish(last)
        self._disk.close(max(deadline - time.monotonic(), 0.1))
        self._lock.release()

    @property
    def emitted_events(self) -> int:
        """Events that were handed over, lost ones included."""
        return self._encoded_events + len(self._queue) + self._refused_events

    @property
    def written_events(self) -> int:
        """Events that the system took."""
        return self._disk.written_events

    def _take_lock(self) -> None:
        try:
            self._series.directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError:
            return  # the disk's thread meets the same error, says it, and takes the lock when it is over

    def _before_open(self) -> None:
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

    def _run(self) -> None:
        is_last = False
        while not is_last:
            try:
                is_last = self._stop.wait(ENCODE_EVERY_S)
                self._beat()
                self._drain()
            except Exception as error:  # a thread that ended would take every later event with it
                cause = f"{type(error).__name__}: {error}"
                self.speaker.say_once("encoder", f"recording was interrupted ({cause}) and goes on; nothing is lost")

    def _drain(self) -> None:
        while self._disk.has_room():
            self._report_losses()
            count = min(len(self._queue), SLICE_EVENTS)
            if not count:
                return
            self._hand_over([self._queue.popleft() for _ in range(count)])
            self._encoded_events += count
            if not self._queue:
                return
            if len(self._queue) < self._queue_limit // 2:
                time.sleep(SLICE_PAUSE_S)

    def _hand_over(self, items: list[Queued]) -> None:
        """Encode ``items`` and give their lines to the disk; back to the queue with them when that is interrupted."""
        first = self._seq
        try:
            lines, count = self._encode_slice(items)
            if count:
                self._bound_queue(len(lines) / count)
                self._disk.hand_over(lines, count)
        except BaseException:
            self._seq = first
            self._queue.extendleft(reversed(items))
            raise

    def _bound_queue(self, line_bytes: float) -> None:
        """Live events take about as much memory as their lines: hold as many as the buffer would."""
        fitting = int(self._buffer_bytes / max(line_bytes, 1.0))
        self._queue_limit = min(max(fitting, MIN_QUEUED_EVENTS), MAX_QUEUED_EVENTS)

    def _encode_slice(self, items: list[Queued]) -> tuple[bytes, int]:
        """The lines of ``items`` and how many of them have any."""
        if self._legacy is None and (lines := self._encoder.encode_slice(items, self._seq + 1)) is not None:
            self._seq += len(items)
            return lines, len(items)
        encoded = [line for item in items if (line := self._encode(item))]
        return b"".join(encoded), len(encoded)

    def _encode(self, item: Queued) -> bytes:
        """The lines of one event; none, and a loss, for what is no event."""
        event = item[0]
        try:
            if not isinstance(event, Event):
                return self._foreign_line(event)
            if self._legacy is None:
                return self._line(event, item, self._next_seq())
            pairs = self._legacy.lines(event)
            seq = self._next_seq() if pairs else 0
            return b"".join([self._line(event, item, seq, name, payload) for name, payload in pairs])
        except Exception as error:  # one odd event must not end the recording of all others
            self._lose(f"{getattr(type(event), 'event_type', type(event).__name__)}: {error}", 1)
            return b""

    def _foreign_line(self, event: ForeignEvent) -> bytes:
        if not isinstance(event, ForeignEvent):
            raise TypeError(f"{type(event).__name__} is not an event")
        line, lost = event.line(self._run_id, self._rank, self._next_seq())
        if lost:
            self._lose(f"{event.event_type}.{lost[0]}", len(lost))
        return line

    def _line(
        self, event: Event, item: Queued, seq: int, event_type: str | None = None, payload: object = None
    ) -> bytes:
        _, timestamp_ns, group_id, severity, message = item
        envelope = Envelope(timestamp_ns, group_id, severity, message, seq)
        line, lost = self._encoder.encode(event, envelope, event_type=event_type, payload=payload)
        if lost:
            self._lose(f"{type(event).event_type}.{lost[0]}", len(lost))
        return line

    def _lose(self, detail: str, count: int) -> None:
        self.losses.add(LossReason.UNENCODABLE, count, detail)
        cause = detail.split(":", 1)[0]
        self.speaker.say_once(cause, f"left out of the event log (said once for each field): {detail}")

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _report_losses(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._reported_at_s < REPORT_EVERY_S:
            return
        for loss in self.losses.take_unreported():
            self._record(TelemetryLoss(reason=loss.reason.value, count=loss.count, detail=loss.detail))
            self._reported_at_s = time.monotonic()

    def _beat(self) -> None:
        now = time.monotonic()
        if not self._heartbeat_s or now - self._heartbeat_at_s < self._heartbeat_s or not self._disk.has_room():
            return
        self._heartbeat_at_s = now
        longest_s, self._disk.longest_write_s = self._disk.longest_write_s, 0.0
        self._record(
            Heartbeat(
                uptime_s=now - self._started_s,
                emitted_events=self.emitted_events,
                pending_events=len(self._queue),
                pending_bytes=self._disk.pending_bytes,
                written_bytes=self._disk.written_bytes,
                write_time_ms=longest_s * 1e3,
            )
        )

    def _record(self, event: Event) -> None:
        """Write an event of the log's own, at once and behind what was encoded before."""
        self._disk.hand_over(self._encode((event, self._now_ns(), "default", None, None)), 1)
        self._encoded_events += 1

    def _finish(self, last: Event | None) -> None:
        held = self._legacy.flush() if self._legacy is not None else []
        for event_type, payload, event in held:
            item: Queued = (event, self._now_ns(), "default", None, None)
            seq = self._seq if self._legacy_repeats else self._next_seq()
            self._disk.hand_over(self._line(event, item, seq, event_type, payload), 1)
        self._report_losses(now=True)
        if last is not None:
            self._record(last)
