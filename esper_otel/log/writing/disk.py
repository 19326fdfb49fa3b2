"""The thread that writes encoded lines to the disk, and its handling of disk errors."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from esper_otel.log.locks.lock import LockHeldError
from esper_otel.log.writing.append import AppendFile
from esper_otel.log.writing.losses import Losses, LossReason, Speaker

RETRY_S: Final = 0.25
KEEP_S: Final = 0.25
"""Interval of checks while nothing is written; a lost lock looks like a dead process after 1 s."""

MAX_WRITE_BYTES: Final = 4 * 1024 * 1024

_ADVICE: Final = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; choose another telemetry directory",
    errno.EACCES: "no permission to write; choose another telemetry directory",
    errno.EPERM: "no permission to write; choose another telemetry directory",
    errno.ELOOP: "it is a symbolic link, which the log does not follow; remove it",
    errno.EBADF: "other code in this process closed its descriptor; the file is opened again",
    errno.EFBIG: "the file reached the size limit of the process (ulimit -f); raise it",
}


_DEAD_DESCRIPTOR: Final = (errno.ESTALE, errno.EBADF, errno.ENODEV, errno.ENXIO, errno.ENOENT)
"""Errors that require reopening the file; after any other, writing resumes where it stopped."""


class Disk:
    """Takes batches of lines, bounded in bytes, and writes them in order on a thread of its own.

    A batch leaves the buffer when the system took it. While the disk fails, the buffer fills, writing is retried
    every 0.25 s, and nothing is lost that still fits; afterwards recording resumes where it stopped, in the middle of
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
        keep: Callable[[], None],
        on_segment: Callable[[Path], object],
    ) -> None:
        """Start the thread.

        Args:
            file: destination of the lines; opened here, on the thread.
            buffer_bytes: bytes that may wait; beyond this ``has_room`` is False.
            losses: counts what was written and then removed, and what is left at the end.
            speaker: reports the cause of a failure once.
            on_open: called on the thread before the file is opened, to bring back what belongs beside it.
            keep: called on the thread every 0.25 s, whether or not there is anything to write.
            on_segment: called on the thread with each segment that was closed.
        """
        self._file = file
        self._buffer_bytes = buffer_bytes
        self._losses = losses
        self._speaker = speaker
        self._on_open = on_open
        self._keep = keep
        self._kept_at_s = time.monotonic()
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
        self._is_closed = threading.Event()
        threading.Thread(target=self._run, name="esper-otel-disk", daemon=True).start()

    def has_room(self) -> bool:
        """True if another batch fits."""
        return self.pending_bytes < self._buffer_bytes

    def hand_over(self, lines: bytes, events: int) -> None:
        """Queue whole lines for writing. Does not block."""
        with self._ready:
            self._batches.append((lines, events))
            self.pending_bytes += len(lines)
            self._ready.notify()

    def close(self, timeout_s: float) -> None:
        """Write the remaining lines, for at most ``timeout_s``, then close. Unwritten lines count as lost."""
        with self._ready:
            self._deadline = time.monotonic() + timeout_s
            self._ready.notify()
        self._is_closed.wait(timeout_s + RETRY_S)
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
        with suppress(Exception):
            self._keep()  # what is written of the end beside the log belongs where the log lies now
        self._file.close()
        self._is_closed.set()

    def _write_next(self) -> bool:
        """Wait for lines and write them; returns False at the end."""
        self._keep_now_and_then()
        batch = self._next_batch()
        if batch is None:
            return False
        lines, events, count = batch
        if count and not self._write_until_done(lines):
            return False
        with self._ready:
            for _ in range(count):
                self._batches.popleft()
            self.pending_bytes -= len(lines)
        self.written_events += events
        self._file_events += events
        return True

    def _keep_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._kept_at_s >= KEEP_S:
            self._kept_at_s = now
            self._keep()

    def _next_batch(self) -> tuple[bytes, int, int] | None:
        """Lines to write at once, with the numbers of events and batches; None at the end. Waits briefly."""
        with self._ready:
            if not self._batches:
                if self._deadline is not None:
                    return None
                self._ready.wait(KEEP_S)
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
        """Write ``lines`` with as many calls as needed; returns False on timeout."""
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
        """The file was removed while in use: its contents are lost, the present lines are written to a new one."""
        detail = "the log was removed while in use; a new file was started"
        if self._file_events:
            self._losses.add(LossReason.WRITE_FAILED, self._file_events, detail)
        self._speaker.say_once("removed", f"{detail}; {self._file_events} events in it are lost")
        self._file_events = 0
        self._file.close()

    def _wait_after(self, error: OSError) -> bool:
        """Report the error and pause; returns False if no time is left for a retry."""
        if self._file.is_open and self._file.is_removed():
            self._notice_removal()
            return True
        self.failure = _ADVICE.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
        place = f" ({error.filename})" if error.filename else ""
        text = f"the event log cannot be written{place}: {self.failure}. Training continues; writing is retried."
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
    """Another process took over the log while our lock was lost."""

    def __init__(self, error: LockHeldError) -> None:
        """Raise the lock's message as an I/O error, which the disk thread retries."""
        super().__init__(errno.EBUSY, str(error))
