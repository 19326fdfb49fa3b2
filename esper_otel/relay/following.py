"""Common part of all pipelines with a thread: the thread, the log, and an end that can be undone."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from esper_otel.relay.console import say
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.pipeline import Pipeline


class Worker(Pipeline):
    """A pipeline in a thread of its own; a subclass defines the thread's work."""

    JOIN_S: ClassVar[float] = 0.0
    """Time that the thread may take to notice that it was stopped, in s."""

    def __init__(self) -> None:
        """Create it without starting the thread."""
        self._stop = threading.Event()
        self._is_finishing = threading.Event()
        self._is_over = False
        self._is_drained = False
        self._has_failed = False
        self._is_running = False
        self._turn = threading.Lock()  # ending and going on are decided one after the other
        self._thread: threading.Thread | None = None

    @property
    def is_at_rest(self) -> bool:
        """True if the thread has ended."""
        return not self._is_running

    @property
    def has_delivered(self) -> bool:
        """True if everything was exported."""
        return self._is_drained

    @property
    def has_failed(self) -> bool:
        """True if an error ended the thread."""
        return self._has_failed

    def start(self) -> None:
        """Start exporting."""
        self._is_running, self._is_drained = True, False
        self._thread = threading.Thread(target=self._run, name=f"esper-{type(self).__name__.lower()}", daemon=True)
        self._thread.start()

    def drain(self, *, is_over: bool) -> None:
        """Export the rest of the log."""
        self._is_over = is_over
        self._is_finishing.set()

    def resume(self) -> bool:
        """Resume after :meth:`drain`; False if the thread ended without having exported everything."""
        with self._turn:
            self._is_finishing.clear()
            is_at_rest = self.is_at_rest
        if is_at_rest and self._is_drained:
            self.start()
        return self._is_running

    def finish(self, timeout_s: float) -> bool:
        """Wait for the end of the thread, ``timeout_s`` at most; returns True if everything was exported."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._stop.set()
            self.cut()
            self._thread.join(self.JOIN_S)
        return self._is_drained

    @abstractmethod
    def work(self) -> bool:
        """Export until the end and return True if everything was exported. Returns soon once ``_stop`` is set."""

    def cut(self) -> None:
        """Make a running call to the destination return soon, if possible."""

    def rest(self) -> None:
        """Release resources that are not needed while nothing is exported."""

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            is_drained = is_sound = False
            try:
                is_drained = self.work()
                is_sound = True
            except Exception as error:  # the relay goes on without it; silence would look like success
                say(
                    f"export to {self.destination} failed ({type(error).__name__}: {error}); "
                    "its position is kept for a new relay"
                )
            finally:
                self.rest()
            with self._turn:  # told to go on while it came to its end, it does
                goes_on = is_sound and is_drained and not self._stop.is_set() and not self._is_finishing.is_set()
                self._is_drained = is_drained
                self._has_failed = not is_sound
                self._is_running = goes_on


class Lines(Protocol):
    """A position in the log."""

    def finish(self) -> None:
        """Stop expecting more: what is read next ends with the log."""

    def reopen(self) -> None:
        """Expect more again, from the present position on."""

    def close(self) -> None:
        """Close all files."""


class Following(Worker):
    """A pipeline that follows the log; a subclass defines how lines are read and exported.

    Attributes:
        lines: the position in the log.
        failed: attempts of :meth:`retry` that failed.
        last_error: the last of their failures as text, empty if there was none.
    """

    def __init__(self, lines: Lines) -> None:
        """Follow ``lines``."""
        super().__init__()
        self.lines = lines
        self.failed = 0
        self.last_error = ""

    def retry(self, attempt: Callable[[], object], every_s: float) -> bool:
        """Call ``attempt`` until it works; False if the run ended meanwhile and it failed once more.

        Failures are counted; each message is reported once in a row.
        """
        said = ""
        while True:
            try:
                attempt()
            except Exception as error:  # a destination, and what it builds on, raises many types
                self.failed += 1
                self.last_error = f"{type(error).__name__}: {error}"
                if self.last_error != said:
                    said = self.last_error
                    say(f"{self.destination}: {said}; retrying every {every_s:g} s")
            else:
                return True
            if self._is_finishing.is_set() or self._stop.is_set():
                return False
            self._is_finishing.wait(every_s)

    @abstractmethod
    def read(self) -> Sequence[Ingested] | None:
        """Return the available new lines, None if there are none. Does not wait."""

    @abstractmethod
    def take(self, lines: Sequence[Ingested] | None, *, is_finishing: bool) -> bool:
        """Export ``lines``, None if there is nothing new; False if stopped before that was done."""

    @abstractmethod
    def end(self) -> bool:
        """Export the end of the log after all its lines were taken; returns True if everything was exported."""

    @abstractmethod
    def idle(self) -> None:
        """Wait for more lines, briefly."""

    def stopped(self) -> None:
        """Store the position if the thread was stopped between two calls of :meth:`take`."""

    def rest(self) -> None:
        """Close the log's files."""
        self.lines.close()

    def work(self) -> bool:
        """Follow the log to its end."""
        self.lines.reopen()
        is_last = False
        while not self._stop.is_set():
            is_finishing = self._is_finishing.is_set()  # looked at once: what is read after it decides
            if is_finishing != is_last:
                is_last = is_finishing
                (self.lines.finish if is_finishing else self.lines.reopen)()
            lines = self.read()
            if not self.take(lines, is_finishing=is_finishing):
                return False
            if lines is not None:
                continue
            if is_finishing:
                return self.end()
            self.idle()
        self.stopped()
        return False
