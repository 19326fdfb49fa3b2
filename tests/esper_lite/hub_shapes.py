"""Events in the shape in which esper-lite's hub hands them over, made of recorded lines, and a hub's counters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class Kind(Enum):
    """esper-lite numbers its event types, and numbers them anew between versions: only the name counts."""

    EPOCH_COMPLETED = 1
    TRAINING_STARTED = 2
    OF_A_LATER_VERSION = 3


@dataclass
class Emitted:
    """What a backend is handed: the envelope as attributes, the payload as an object that makes a dictionary."""

    event_type: Any
    data: Any = None
    event_id: str = "id"
    timestamp: datetime = field(default_factory=lambda: datetime.fromisoformat("2026-11-22T10:00:00.123456+00:00"))
    seed_id: str | None = None
    slot_id: str | None = None
    epoch: int | None = None
    group_id: str = "default"
    message: str = ""
    severity: str = "info"


@dataclass
class LaterEmitted(Emitted):
    """The envelope of a later version."""

    cohort: str | None = None


@dataclass(frozen=True)
class Payload:
    """A payload that knows how to become a dictionary."""

    fields: Any

    def to_dict(self) -> Any:
        return self.fields


def emitted(line: bytes) -> Emitted:
    """The event of a recorded line."""
    fields = json.loads(line)
    fields["timestamp"] = datetime.fromisoformat(fields["timestamp"])
    fields["data"] = Payload(fields["data"])
    return Emitted(**fields)


class CountingHub:
    """The counters of a hub, which a test sets."""

    def __init__(self) -> None:
        self.dropped = 0
        self.backend_dropped = 0

    def get_health_snapshot(self) -> dict[str, Any]:
        return {"hub_dropped_events": self.dropped}

    def get_backend_stats(self) -> dict[str, Any]:
        return {"EsperOtelOutput": {"dropped_events": self.backend_dropped}}


class JanuaryHub(CountingHub):
    """A hub that counts what it dropped and does not say it."""

    get_health_snapshot: Callable[..., Any] = None  # type: ignore[assignment]  # as if it had none

    @property
    def _dropped_events(self) -> int:
        return self.dropped
