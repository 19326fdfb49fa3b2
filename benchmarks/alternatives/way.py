"""The interface of a way of recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from benchmarks.alternatives.payloads import Numbers, Payload

Record = Callable[[Numbers], object]


class Way(Protocol):
    """A way of recording. Opened and closed several times in one process."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Begin to record into ``directory`` (empty) or to ``endpoint``, an OTLP receiver.

        Raises:
            UnavailableError: it cannot run here.
        """

    def recorder(self, payload: Payload) -> Record:
        """The function that the training thread calls with the numbers of one event."""

    def settle(self) -> None:
        """Wait, for some seconds at most, until recorded events no longer need this process."""

    def lost(self) -> int:
        """Events that were recorded and then dropped since it was opened."""

    def close(self) -> None:
        """End recording."""


class UnavailableError(Exception):
    """A way cannot run here; the message says what is missing."""
