"""The thread that writes encoded lines to the disk, and what it does when the disk refuses."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from esper_otel.log.append import AppendFile
from esper_otel.log.lock import LockHeldError
from esper_otel.log.losses import Losses, LossReason, Speaker

RETRY_S: Final = 0.25
MAX_WRITE_BYTES: Final = 4 * 1024 * 1024

_ADVICE: Final = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; choose another telemetry directory",
    errno.EACCES: "no permission to write; choose another telemetry directory",
    errno.EPERM: "no permission to write; choose another telemetry directory",
    errno.ELOOP: "it is a symbolic link, and the log is not written through links; remove it",
    errno.EFBIG: "the file reached the size limit of the process (ulimit -f); raise it",
}


_DEAD_DESCRIPTOR: Final = (errno.ESTALE, errno.EBADF, errno.ENODEV, errno.ENXIO, errno.ENOENT)
"""Errors after which only opening the file anew can help; after any other, writing goes on where it stopped."""


class Disk:
    """Takes batches of lines, bounded in bytes, and writes them in order on a thread of its own.

    A batch leaves the buffer when the system took it. While the disk refuses, the buffer fills, writing is tried again
    every 0.25 s, and nothing is lost that still fits; afterwards recording goes on where it stopped, in the middle of
    a line if need be. A removed directory is created again.
    """

    def __init__(
        self,
        file: AppendFile,
        *,
        buffer_bytes: int,
        losses: Losses,
        speaker: Speaker,
        on_open: Callable[[], None],
        on_segment: Callable[[Path], object],
    ) -> None:
        """Start the thread.

        Args:
            file: where lines go; opened here, on the thread.
            buffer_bytes: bytes that may wait; more is refused by ``has_room``.
            losses: counts what was written and then removed, and what is left at the end.
            speaker: says the cause of a failure once.
            on_open: called on the thread before the file is opened, to bring back what belongs beside it.
            on_segment: called on the thread with each segment that was closed.
        """
        self._file = file
        self._buffer_bytes = buffer_bytes
        self._losses = losses
        self._speaker = speaker
        self._on_open = on_open
        self._on_segment = on_segment
        self._batches: deque[tuple[bytes, int]] = deque()
        self._ready = threading.Condition()
        self._deadline: float | None = None
        self._file_events = 0
        self.pending_bytes = 0
        self.written_bytes = 0
        self.written_events = 0
        self.longest_write_s = 0.0
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="esper-otel-disk", daemon=True)
        self._thread.start()

    def has_room(self) -> bool:
        """Whether another batch may be handed over."""
        return self.pending_bytes < self._buffer_bytes

    def hand_over(self, lines: bytes, events: int) -> None:
        """Queue whole lines for writing. Does not block."""
        with self._ready:
            self._batches.append((lines, events))
            self.pending_bytes += len(lines)
            self._ready.notify()

    def close(self, timeout_s: float) -> None:
        """Write what is left, for at most ``timeout_s``, then close. What cannot be written is counted as lost."""
        with self._ready:
            self._deadline = time.monotonic() + timeout_s
            self._ready.notify()
        self._thread.join(timeout_s + RETRY_S)
        left = sum(events for _, events in list(self._batches))
        if left:
            cause = self.failure or "the disk is too slow"
            self._losses.add(LossReason.WRITE_FAILED, left, cause)
            self._speaker.say_once("left", f"{left} events are not in the log: {cause}")

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            try:
                goes_on = self._write_next()
            except Exception as error:  # without this thread nothing would be written any more
                goes_on = self._wait_after(OSError(f"{type(error).__name__}: {error}"))
        self._file.close()

    def _write_next(self) -> bool:
        """Write what there is, once there is something; False at the end."""
        batch = self._next_batch()
        if batch is None:
            return False
        lines, events, count = batch
        if not self._write_until_done(lines):
            return False
        with self._ready:
            for _ in range(count):
                self._batches.popleft()
            self.pending_bytes -= len(lines)
        self.written_events += events
        self._file_events += events
        return True

    def _next_batch(self) -> tuple[bytes, int, int] | None:
        """Lines to write at once, their events and how many batches they are; None at the end. Waits."""
        with self._ready:
            while not self._batches:
                if self._deadline is not None:
                    return None
                self._ready.wait()
            parts: list[bytes] = []
            events = size = 0
            for lines, number in self._batches:
                if parts and size + len(lines) > MAX_WRITE_BYTES:
                    break
                parts.append(lines)
                events += number
                size += len(lines)
            return b"".join(parts), events, len(parts)

    def _write_until_done(self, lines: bytes) -> bool:
        """Write ``lines``, however often it takes; False when time is up."""
        rest = memoryview(lines)
        while True:
            try:
                if not self._file.is_open:
                    self._open()
                    rest = memoryview(lines)
                rest = self._write(rest, is_whole=len(rest) == len(lines))
                if not rest:
                    if not self._file.is_removed():
                        self.failure = None
                        return True
                    self._notice_removal()
            except OSError as error:
                if not self._wait_after(error):
                    return False

    def _open(self) -> None:
        self._on_open()
        self._file.open()

    def _write(self, rest: memoryview, *, is_whole: bool) -> memoryview:
        if is_whole and self._file.is_due(len(rest)):
            self._on_segment(self._file.rotate())
            self._file_events = 0
        started = time.monotonic()
        written = self._file.write(rest)
        self.longest_write_s = max(self.longest_write_s, time.monotonic() - started)
        self.written_bytes += written
        return rest[written:]

    def _notice_removal(self) -> None:
        """The file was removed under us: what it held is gone, the present lines are written again to a new one."""
        detail = "the log was removed while it was written; a new one was begun"
        if self._file_events:
            self._losses.add(LossReason.WRITE_FAILED, self._file_events, detail)
        self._speaker.say_once("removed", f"{detail}; {self._file_events} events that were in it are gone")
        self._file_events = 0
        self._file.close()

    def _wait_after(self, error: OSError) -> bool:
        """Say what went wrong and pause; False when there is no time left for another try."""
        if self._file.is_open and self._file.is_removed():
            self._notice_removal()
            return True
        self.failure = _ADVICE.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
        place = f" ({error.filename})" if error.filename else ""
        text = f"the event log cannot be written{place}: {self.failure}. Training goes on; writing is retried."
        self._speaker.say_once(self.failure, text)
        if error.errno in _DEAD_DESCRIPTOR:
            self._file.close()
        with self._ready:
            if self._deadline is None:
                self._ready.wait(RETRY_S)
                return True
        time.sleep(min(RETRY_S, max(self._deadline - time.monotonic(), 0.0)))
        return time.monotonic() < self._deadline


class LogTakenError(OSError):
    """Another process took over the log while ours was out of reach."""

    def __init__(self, error: LockHeldError) -> None:
        """Carry the lock's message as an I/O error, which the disk thread waits out."""
        super().__init__(errno.EBUSY, str(error))
