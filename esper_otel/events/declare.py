"""Declaration of an event: its base class and the signal declarations on its fields.

An event is a frozen :class:`msgspec.Struct`. Its class keywords give its name in the log, its domain and
the fields that are metric attributes; the annotation of each field gives the meaning of the value and the
instruments that it feeds. Everything else (instruments, Prometheus names, SQL columns, the catalogue) is derived
from these declarations by :mod:`esper_otel.signals`; nothing about a signal is typed a second time.

Nothing here may import torch or OpenTelemetry: the contract is read by processes that have neither. Annotations are
values here, not texts: each event class inherits them, and whoever looks at its fields would compile every text anew.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar, Final, TypeVar

import msgspec

from esper_otel.events.instruments import (
    Instrument,
    Metric,
    Severity,
    Threshold,
    counter,
    gauge,
    gibibytes,
    histogram,
    maximum,
    milliseconds,
    nonfinite,
    state,
    timestamp,
    total,
    violations,
)

__all__ = [
    "EVENT_TYPES",
    "Domain",
    "Event",
    "Field",
    "Instrument",
    "Metric",
    "Severity",
    "Threshold",
    "Tier",
    "counter",
    "declares",
    "gauge",
    "gibibytes",
    "histogram",
    "maximum",
    "milliseconds",
    "nonfinite",
    "note",
    "otel_event_name",
    "state",
    "timestamp",
    "total",
    "violations",
]


class Domain(StrEnum):
    """Component that emits an event. ``ESPER`` is the telemetry layer itself, reporting on the run and on itself."""

    TAMIYO = "tamiyo"
    TOLARIA = "tolaria"
    KASMINA = "kasmina"
    SIMIC = "simic"
    ESPER = "esper"


class Tier(StrEnum):
    """Cost of collecting a value in the training step (plan, Appendix E).

    ``LOW``: already on the host, collected at every step. ``MEDIUM``: one extra transfer or iteration, every N batches.
    ``HIGH``: a full traversal or an external call, on demand.
    """

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """Meaning, cost and older spellings of a field.

    Attributes:
        description: meaning with unit and range, one sentence.
        tier: cost of collecting it.
        metrics: the instruments it feeds; none means that it appears in spans, logs and SQL only.
        key: for a map, the bounded attribute that its keys are values of (``head``, ``slot``, ``op``, …).
        aliases: other spellings understood on reading, the first is the one written in legacy mode. ``{key}`` stands
            for a map's key and turns one map into the columns that esper-lite writes.
        alias_scale: factor from an alias' value to this field (``1e-3`` when the alias is in ms and this in s).
        limits: limits of healthy values, in the field's unit; a field that feeds ``violations()`` has them there.
    """

    description: str
    tier: Tier = Tier.LOW
    metrics: tuple[Metric, ...] = ()
    key: str | None = None
    aliases: tuple[str, ...] = ()
    alias_scale: float = 1.0
    limits: Threshold | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of every event; :func:`declares` gives a subclass its name and registers it.

    A field that was not measured is None and is left out of the log; no default looks healthy. Non-finite numbers are
    observations and are kept. The class attributes are the declaration:

    Attributes:
        event_type: name in the log, ``TAMIYO_POLICY_UPDATE``.
        domain: the domain that it belongs to.
        otel_name: name of the OpenTelemetry log event, ``tamiyo.policy_update``.
        severity: default severity; the producer may set another.
        legacy_type: name in esper-lite's log where that differs, ``PPO_UPDATE_COMPLETED``.
        legacy_kind: for a part of esper-lite's ``ANALYTICS_SNAPSHOT``, its ``kind``.
        attributes: fields that are metric attributes of every metric of the event.
        metrics: instruments fed by the event itself (a COUNTER counts events).
        epoch_field: the field that esper-lite's envelope repeats as ``epoch``.
    """

    event_type: ClassVar[str] = ""
    domain: ClassVar[Domain]
    otel_name: ClassVar[str] = ""
    severity: ClassVar[Severity] = Severity.INFO
    legacy_type: ClassVar[str | None] = None
    legacy_kind: ClassVar[str | None] = None
    attributes: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[Metric, ...]] = ()
    epoch_field: ClassVar[str | None] = None


EVENT_TYPES: Final[dict[str, type[Event]]] = {}
"""Every event class of the contract by its name in the log, in order of declaration."""

CUSTOM_TYPES: Final[dict[str, type[Event]]] = {}
"""Every event class that code of users declared in this process, by its name in the log."""

_CONTRACT: Final = "esper_otel."


def otel_event_name(name: str, domain: Domain) -> str:
    """OpenTelemetry event name of a log name: ``TAMIYO_POLICY_UPDATE`` is ``tamiyo.policy_update``."""
    return f"{domain}.{name.lower().removeprefix(f'{domain}_')}"


def note(
    description: str,
    *metrics: Metric,
    tier: Tier = Tier.LOW,
    key: str | None = None,
    aliases: tuple[str, ...] = (),
    alias_scale: float = 1.0,
    limits: Threshold | None = None,
) -> Field:
    """Declare a field: its meaning, then the instruments that it feeds."""
    return Field(
        description=description,
        metrics=metrics,
        tier=tier,
        key=key,
        aliases=aliases,
        alias_scale=alias_scale,
        limits=limits,
    )


E = TypeVar("E", bound=Event)


def declares(
    event_type: str,
    *,
    domain: Domain,
    severity: Severity = Severity.INFO,
    legacy: str | None = None,
    legacy_kind: str | None = None,
    attributes: tuple[str, ...] = (),
    metrics: tuple[Metric, ...] = (),
    epoch_field: str | None = None,
) -> Callable[[type[E]], type[E]]:
    """Name an event and register it, in the contract or, outside this package, among a user's own.

    A class decorator::

        @declares("TAMIYO_POLICY_UPDATE", domain=Domain.TAMIYO, legacy="PPO_UPDATE_COMPLETED")
        class PolicyUpdate(Event, frozen=True, kw_only=True):
            policy_loss: Annotated[float | None, note("Clipped surrogate objective.", gauge())] = None

    Raises:
        TypeError: a class of the contract has that name. A user's own class replaces an earlier one of its name, as
            when a cell of a notebook runs again.
    """

    def register(cls: type[E]) -> type[E]:
        is_own = not cls.__module__.startswith(_CONTRACT)
        known = EVENT_TYPES.get(event_type)
        if known is not None:
            raise TypeError(f"event type {event_type!r} is declared by {known.__name__} and {cls.__name__}")
        cls.event_type = event_type
        cls.domain = domain
        cls.otel_name = otel_event_name(event_type, domain)
        cls.severity = severity
        cls.legacy_type = legacy
        cls.legacy_kind = legacy_kind
        cls.attributes = attributes
        cls.metrics = metrics
        cls.epoch_field = epoch_field
        (CUSTOM_TYPES if is_own else EVENT_TYPES)[event_type] = cls
        return cls

    return register
