"""Choice of the lines of a log for W&B; all others are skipped, since most of a log is decisions."""

from __future__ import annotations

from typing import Final

from esper_otel.events import RunEnded, TrainingStarted
from esper_otel.events.declare import Event
from esper_otel.log.envelope import Record
from esper_otel.relay.wandb.columns import GROUPS

_EVENTS: Final[tuple[type[Event], ...]] = (*GROUPS, TrainingStarted, RunEnded)
EVENT_TYPES: Final = frozenset(name for event in _EVENTS for name in (event.event_type, event.legacy_type) if name)


def is_shown(record: Record) -> bool:
    """Return True if W&B shows the record: of rank 0 alone, as every rank makes the same policy updates."""
    return record.rank == 0 and record.event_type in EVENT_TYPES
