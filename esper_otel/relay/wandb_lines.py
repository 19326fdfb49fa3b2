"""The lines of a log that W&B shows, decoded; all others are passed over unread, since most of a log is decisions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from esper_otel.events import RunEnded, TrainingStarted
from esper_otel.events.declare import Event
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest, Ingested
from esper_otel.relay.wandb_columns import GROUPS

_EVENTS: Final[tuple[type[Event], ...]] = (*GROUPS, TrainingStarted, RunEnded)
EVENT_TYPES: Final = frozenset(name for event in _EVENTS for name in (event.event_type, event.legacy_type) if name)


class WandbLines:
    """A place in the log. Lines of rank 0 alone: every rank makes the same policy updates."""

    def __init__(self, path: Path, *, follow: bool, stored: Mapping[str, Any] | None) -> None:
        """Go on from what :attr:`state` was, else begin at the start.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        positions = stored["positions"] if stored else None
        self._reader = LogReader(path, follow=follow, positions=positions, decode_events=True)
        self._ingest = Ingest(stored["ingest"] if stored else None)

    @property
    def state(self) -> dict[str, Any]:
        """Where it is, to be stored; plain JSON."""
        return {"positions": self._reader.positions, "ingest": self._ingest.state}

    def read(self, limit: int) -> list[Ingested] | None:
        """Those of the next ``limit`` lines that matter, None when there is nothing new. Does not wait."""
        items = self._reader.read(limit)
        if not items:
            return None
        wanted = (
            item for item in items if isinstance(item, Record) and item.rank == 0 and item.event_type in EVENT_TYPES
        )
        return [self._ingest.take(item) for item in wanted]

    def finish(self) -> None:
        """Stop expecting more: what is read next ends with the log."""
        self._reader.finish()

    def close(self) -> None:
        """Close all files."""
        self._reader.close()
