"""Counting of lost events, reported once per cause."""

from __future__ import annotations

import threading
from collections import Counter
from enum import StrEnum
from typing import Final

import msgspec

from esper_otel.text.terminal import write_line_within

_SAY_S: Final = 0.05
"""Longest wait of a worker for a message to be printed: standard error may be a pipe that nobody reads."""

_MAX_CAUSES: Final = 30
"""Maximum number of different messages in one run; beyond it only the counts continue."""


class LossReason(StrEnum):
    """Reason for missing events.

    BUFFER_FULL: events came faster than they could be encoded and written. WRITE_FAILED: the disk refused them.
    UNENCODABLE: a field has no JSON form, or an event is not an event. CHILD_PROCESS: they were emitted in a child
    process, which does not record. UNSUPPORTED: the system has no file locks.
    """

    BUFFER_FULL = "buffer_full"
    WRITE_FAILED = "write_failed"
    UNENCODABLE = "unencodable"
    CHILD_PROCESS = "child_process"
    UNSUPPORTED = "unsupported"


class Loss(msgspec.Struct):
    """Losses of one reason not yet reported in the log."""

    reason: LossReason
    count: int
    detail: str


class Losses:
    """Counts by reason. Thread-safe; :meth:`add` neither blocks on I/O nor prints."""

    def __init__(self) -> None:
        """Start without losses."""
        self._lock = threading.RLock()  # a signal handler may emit while its thread is in here
        self._totals: Counter[str] = Counter()
        self._unreported: dict[LossReason, Loss] = {}

    def add(self, reason: LossReason, count: int, detail: str) -> None:
        """Add ``count``; the first ``detail`` since the last report is kept."""
        with self._lock:
            self._totals[reason.value] += count
            loss = self._unreported.setdefault(reason, Loss(reason, 0, detail))
            loss.count += count

    def take_unreported(self) -> list[Loss]:
        """Losses to report in the log now; the caller reports them."""
        with self._lock:
            losses, self._unreported = list(self._unreported.values()), {}
        return losses

    @property
    def totals(self) -> dict[str, int]:
        """Everything lost so far, by reason."""
        with self._lock:
            return dict(self._totals)


class Speaker:
    """Reports each problem once on standard error, without letting a blocked terminal block its caller for long."""

    def __init__(self) -> None:
        """Start without messages."""
        self._said: set[str] = set()

    def say_once(self, cause: str, text: str) -> None:
        """Print ``text`` unless ``cause`` was reported already, or too many others were."""
        if cause in self._said or len(self._said) >= _MAX_CAUSES:
            return
        self._said.add(cause)
        write_line_within(f"esper-otel: {text}", _SAY_S)
