"""The thread that trains: an exception that ends it ends the training, though the process may end regularly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from esper_otel.runtime.exits import failure_of
from esper_otel.runtime.run import Telemetry
from esper_otel.runtime.telemetry import Process


class TrainingThread:
    """Notes an uncaught exception of the thread that made the last update; a later update takes it back."""

    def __init__(self) -> None:
        """Look at nothing until :meth:`start`."""
        self._ident = 0
        self._error: BaseException | None = None
        self._previous: Callable[[Any], Any] = threading.excepthook

    def start(self) -> None:
        """Hear of the exceptions of threads; whoever heard of them before does so still."""
        self._previous = threading.excepthook
        threading.excepthook = self._ended

    def stop(self) -> None:
        """Hear of them no more, unless somebody else has come in between."""
        if threading.excepthook == self._ended:
            threading.excepthook = self._previous

    def updated(self) -> None:
        """An update was made in this thread."""
        self._ident = threading.get_ident()
        self._error = None

    def tell(self) -> None:
        """Before the run ends: say what ended the training."""
        if self._error is not None and isinstance(Process.active, Telemetry):
            failure = failure_of(self._error)
            if failure is not None:
                Process.active.note_failure(failure[0], f"in the thread that trained: {failure[1]}")

    def _ended(self, args: Any) -> None:
        if threading.get_ident() == self._ident:
            self._error = args.exc_value
        self._previous(args)
