"""Writing of events in esper-lite's format, for older readers (``ESPER_OTEL_STABILITY_OPT_IN``).

``legacy`` writes the old form alone, ``domains/dup`` the new one and then the old one. An event without a form in
esper-lite is written under its own name, once. An event whose name is the same in both vocabularies is written once in
``domains/dup`` too, with its fields under both spellings: two lines of one name would count twice in an old reader.

esper-lite reports a decision and its reward in one line. The first of the two to come is held back until the other
one, the next step of that environment or :meth:`LegacyWriter.flush` completes the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from esper_otel.esper_lite.dialect.recipes import IDENTITY
from esper_otel.esper_lite.dialect.respell import legacy_payload, spelled, with_required
from esper_otel.esper_lite.dialect.table import REQUIRED, REQUIRED_HEADS, REQUIRED_REWARD, SNAPSHOT
from esper_otel.events import Decision, Event, RewardComputed

DUPLICATE: Final = "domains/dup"
LEGACY: Final = "legacy"

Payload = msgspec.Struct | Mapping[str, Any]
Step = tuple[int | None, int | None, int | None]


class LegacyWriter:
    """Converts each event to the lines to write for it. Not thread-safe."""

    def __init__(self, mode: str) -> None:
        """Write old names alone (``legacy``) or beside the new ones (``domains/dup``).

        Raises:
            ValueError: ``mode`` is neither.
        """
        if mode not in (DUPLICATE, LEGACY):
            raise ValueError(f"mode must be {DUPLICATE!r} or {LEGACY!r}, not {mode!r}")
        self._writes_own = mode == DUPLICATE
        self._held: dict[int | None, Decision | RewardComputed] = {}

    def lines(self, event: Event) -> list[tuple[str, Payload]]:
        """Event type and payload of each line for ``event``, in order; all have its id and sequence number.

        Empty when the event is held back: a sequence number that is given to it must then not be used up. A line may
        be about an earlier event that was held back; it comes after those of ``event``, so that a reader that takes
        the first line of a sequence number takes the right one.
        """
        if isinstance(event, Decision | RewardComputed):
            return [*self._own(event), *self._step(event)]
        if event.legacy_type is not None:
            return [*self._own(event), (event.legacy_type, legacy_payload(event))]
        return [(event.event_type, _both(event) if self._writes_own else legacy_payload(event))]

    def flush(self) -> list[tuple[str, Payload, Event]]:
        """Lines of the events that are still held back, each with its event.

        In ``domains/dup`` their new form is in the log already: the lines are repetitions and must not be given a
        sequence number beyond the last one.
        """
        held = list(self._held.values())
        self._held.clear()
        return [(SNAPSHOT, _snapshot(event), event) for event in held]

    def _own(self, event: Event) -> list[tuple[str, Payload]]:
        return [(event.event_type, event)] if self._writes_own else []

    def _step(self, event: Decision | RewardComputed) -> list[tuple[str, Payload]]:
        held = self._held.pop(event.env_id, None)
        if held is not None and type(held) is not type(event) and _step_of(held) == _step_of(event):
            return [(SNAPSHOT, _snapshot(held, event))]
        self._held[event.env_id] = event
        return [] if held is None else [(SNAPSHOT, _snapshot(held))]


def _step_of(event: Decision | RewardComputed) -> Step:
    return event.env_id, event.episode_idx, event.inner_epoch


def _both(event: Event) -> Payload:
    """The event itself where the old spelling adds nothing; otherwise its fields under both spellings."""
    own = {name: value for name in event.__struct_fields__ if (value := getattr(event, name)) is not None}
    old = {name: value for name, value in spelled(event).items() if name not in own}
    return {**own, **old} if old else event


def _snapshot(*events: Decision | RewardComputed) -> dict[str, Any]:
    """One line about a step: what was decided, and the reward inside it."""
    payload: dict[str, Any] = {"kind": Decision.legacy_kind}
    for event in events:
        if isinstance(event, Decision):
            payload |= spelled(event)
            if "head_telemetry" in payload:
                payload["head_telemetry"] = with_required(payload["head_telemetry"], REQUIRED_HEADS)
        else:
            fields = spelled(event)
            payload |= {name: value for name in IDENTITY if (value := getattr(event, name)) is not None}
            inside = {name: value for name, value in fields.items() if name not in IDENTITY}
            payload["reward_components"] = with_required(inside, REQUIRED_REWARD)
    return with_required(payload, REQUIRED[SNAPSHOT])
