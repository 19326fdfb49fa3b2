"""Names of the attributes by which a log event says whose and what it is; its fields have those of their domain."""

from __future__ import annotations

from typing import Final

EVENT_ID: Final = "esper.event.id"
EVENT_TYPE: Final = "esper.event.type"
RUN_ID: Final = "esper.run.id"
RANK: Final = "esper.rank"
GROUP_ID: Final = "esper.group.id"
SEED_ID: Final = "esper.seed.id"
SLOT_ID: Final = "esper.slot.id"
EPOCH: Final = "esper.epoch"

UNKNOWN_EVENT: Final = "esper.unknown"
"""Name of the log event of a line of which no event could be made."""

UNKNOWN_REASON: Final = "esper.unknown.reason"
DROPPED: Final = "esper.attributes.dropped"
"""Number of attributes that did not fit."""

OWN: Final = frozenset({EVENT_ID, EVENT_TYPE, RUN_ID, RANK, GROUP_ID, SEED_ID, SLOT_ID, EPOCH, UNKNOWN_REASON, DROPPED})
"""All of them: what else a log event has are its fields."""
