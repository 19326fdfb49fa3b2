"""Counting what could not be recorded, and saying so once per cause."""

from __future__ import annotations

import threading
from collections import Counter
from enum import StrEnum
from typing import Final

import msgspec

from esper_otel.terminal import write_line_within

_SAY_S: Final = 0.05
"""How long a worker waits for a message to be printed: standard error may be a pipe that nobody reads."""

_MAX_CAUSES: Final = 30
"""Different things that are said in one run; after that only the counts go on."""


class LossReason(StrEnum):
    """Why something is missing from the log.

    BUFFER_FULL: events came faster than they could be encoded and written. WRITE_FAILED: the disk refused them.
    UNENCODABLE: a field has no JSON form, or an event is not an event.
    """

    BUFFER_FULL = "buffer_full"
    WRITE_FAILED = "write_failed"
    UNENCODABLE = "unencodable"


class Loss(msgspec.Struct):
    """Losses of one reason that the log does not tell of yet."""

    reason: LossReason
    count: int
    detail: str


class Losses:
    """Counts by reason. Safe for use by several threads; :meth:`add` neither blocks on I/O nor prints."""

    def __init__(self) -> None:
        """Nothing is lost yet."""
        self._lock = threading.RLock()  # a signal handler may emit while its thread is in here
        self._totals: Counter[str] = Counter()
        self._unreported: dict[LossReason, Loss] = {}

    def add(self, reason: LossReason, count: int, detail: str) -> None:
        """Count ``count`` more; the first ``detail`` since the last report is kept."""
        with self._lock:
            self._totals[reason.value] += count
            loss = self._unreported.setdefault(reason, Loss(reason, 0, detail))
            loss.count += count

    def take_unreported(self) -> list[Loss]:
        """What is to be told in the log now; the caller tells it."""
        with self._lock:
            losses, self._unreported = list(self._unreported.values()), {}
        return losses

    @property
    def totals(self) -> dict[str, int]:
        """Everything lost so far, by reason."""
        with self._lock:
            return dict(self._totals)


class Speaker:
    """Says each thing once on standard error, without letting a blocked terminal hold up its caller for long."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said: set[str] = set()

    def say_once(self, cause: str, text: str) -> None:
        """Print ``text`` unless ``cause`` was named already, or very many others were."""
        if cause in self._said or len(self._said) >= _MAX_CAUSES:
            return
        self._said.add(cause)
        write_line_within(f"esper-otel: {text}", _SAY_S)
