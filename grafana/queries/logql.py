"""LogQL over the relay's log events, as Loki stores OTLP data.

The stream is selected by ``service_name`` alone; the run is filtered behind it, because Loki keeps
``service_instance_id`` as an index label or as structured metadata, depending on its configuration.
"""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.events import EVENT_TYPES
from esper_otel.events.declare import Event, Severity

STREAM: Final = '{service_name=~"$job"} | service_instance_id=~"$instance"'
IDENTITY: Final = (
    "esper_event_id",
    "esper_event_type",
    "esper_run_id",
    "esper_rank",
    "esper_group_id",
    "esper_epoch",
    "esper_seed_id",
    "esper_slot_id",
)
"""Labels of every log event: Loki's names of the relay's attributes."""

ENVELOPE: Final = ("service_name", "service_instance_id", "severity_text", "trace_id", "span_id")

LEFT_OUT: Final = "left_out"
"""Variable with the event types that the event log does not show."""

_OF_EVERY_STEP: Final = (
    "KASMINA_SEED_DIVERSITY",
    "PHASE_PROFILE_COMPLETED",
    "SEED_GATE_EVALUATED",
    "TOLARIA_EPOCH_COMPLETED",
)
"""Events of each epoch of each environment, beside those that are for debugging."""


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """One LogQL query.

    Attributes:
        text: the query.
        labels: labels that it filters or shows.
        event_types: event types that it asks for; empty for all.
    """

    text: str
    labels: tuple[str, ...]
    event_types: tuple[str, ...] = ()


def field_label(event: type[Event], field: str) -> str:
    """Label of an event's field in Loki.

    Raises:
        KeyError: the event has no such field.
    """
    if field not in event.__struct_fields__:
        raise KeyError(f"{event.event_type} has no field {field!r}")
    return f"{event.domain}_{field}"


def events(*types: str, fields: tuple[str, ...] = (), keep: str = "", by_env: bool = False) -> Log:
    """Log events of the chosen run.

    Args:
        types: event types of the log; all when empty.
        fields: fields of these events that the panel shows.
        keep: a further filter, in LogQL behind ``|``.
        by_env: whether the environment variable filters too.

    Raises:
        KeyError: there is no such event or field.
    """
    classes = [EVENT_TYPES[name] for name in types]
    stages = [STREAM]
    if types:
        stages.append(f'esper_event_type=~"{"|".join(types)}"')
    stages.append('esper_group_id=~"$group_id"')
    if by_env:
        stages.append(_by_environment(classes))
    if keep:
        stages.append(keep)
    shown = {field_label(event, field) for event in classes for field in fields if field in event.__struct_fields__}
    return Log(text=" | ".join(stages), labels=tuple(sorted(shown)), event_types=types)


def _by_environment(classes: list[type[Event]]) -> str:
    domains = sorted(
        {event.domain for event in (classes or EVENT_TYPES.values()) if "env_id" in event.__struct_fields__}
    )
    return "(" + " or ".join(f'{domain}_env_id=~"$env_id"' for domain in domains) + ")"


def of_every_step() -> list[str]:
    """Types of the events that are emitted at every step."""
    debugging = {name for name, event in EVENT_TYPES.items() if event.severity is Severity.DEBUG}
    return sorted(debugging.union(_OF_EVERY_STEP))


def known_labels() -> frozenset[str]:
    """Every label that the relay's log events can have in Loki, maps apart."""
    fields = {f"{event.domain}_{field}" for event in EVENT_TYPES.values() for field in event.__struct_fields__}
    return frozenset({*IDENTITY, *ENVELOPE, *fields})
