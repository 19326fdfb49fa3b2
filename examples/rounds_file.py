"""An exporter for the relay: a line per round, its number and the mean accuracy, in a CSV file.

Copy it to ``esper_otel/relay/rounds_file.py`` and list it in ``PIPELINES`` (``esper_otel/relay/parts.py``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from esper_otel.events import BatchCompleted
from esper_otel.log.envelope import Record
from esper_otel.relay.following import Following
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.pipeline import Account, Context
from esper_otel.relay.position import LogPosition

VARIABLE: Final = "ESPER_OTEL_ROUNDS_FILE"
CHECKPOINT: Final = "rounds"
BATCH: Final = 1_000
RETRY_S: Final = 5.0
IDLE_S: Final = 0.5


class RoundsFile(Following):
    """Appends the rounds of rank 0 to a file."""

    destination = "the file of rounds"  # in messages
    is_required = False  # True: the relay ends with status 3 when something could not be exported
    signal: Final = "rounds"
    refused: Final = 0

    def __init__(self, target: Path, context: Context) -> None:
        """Continue from the stored position, else begin at the start."""
        self.exported = 0
        self._target, self._directory = target, context.directory
        self._position = LogPosition.resumed(context, CHECKPOINT, self.destination, is_round)
        super().__init__(self._position)

    @property
    def accounts(self) -> Sequence[Account]:
        """The counters: ``esper_relay_exported_total{signal="rounds"}`` and the like."""
        return [self]

    def describe(self) -> str:
        """The line that the relay prints at its start."""
        return f"rounds to {self._target}"

    def read(self) -> list[Ingested] | None:
        """Return the next rounds, None when there is nothing new."""
        return self._position.read(BATCH)

    def take(self, lines: Sequence[Ingested] | None, *, is_finishing: bool) -> bool:
        """Append the rounds, then store the position: only what went out counts as read."""
        if lines is None:
            return True
        events = [event for line in lines for event in line.events if isinstance(event, BatchCompleted)]
        rows = [f"{event.batch_idx},{event.avg_accuracy}\n" for event in events]
        if rows and not self.retry(lambda: self._append(rows), RETRY_S):
            return False
        if self._directory is not None:
            self._directory.save(CHECKPOINT, self._position.state)
        return True

    def end(self) -> bool:
        """Nothing is left to be done after the last line."""
        return True

    def idle(self) -> None:
        """Wait for more rounds."""
        self._is_finishing.wait(IDLE_S)

    def _append(self, rows: list[str]) -> None:
        with self._target.open("a", encoding="utf-8") as file:
            file.writelines(rows)
        self.exported += len(rows)


def is_round(record: Record) -> bool:
    """Return True for a round; every rank logs it, so that of rank 0 is enough."""
    return record.rank == 0 and record.event_type in {BatchCompleted.event_type, BatchCompleted.legacy_type}


def make(context: Context) -> RoundsFile | None:
    """Build the exporter if the variable names a file."""
    target = os.environ.get(VARIABLE)
    return RoundsFile(Path(target), context) if target else None
