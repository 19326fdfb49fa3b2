"""How an event declares itself: the base class and the signal declarations that sit on its fields.

An event is a frozen :class:`msgspec.Struct`. Its class keywords say what it is called in the log, which domain it
belongs to and which of its fields are metric attributes; the annotation of each field says what the value means and
which instruments it feeds. Everything else (instruments, Prometheus names, SQL columns, the catalogue) is derived
from these declarations by :mod:`esper_otel.signals`; nothing about a signal is typed a second time.

Nothing here may import torch or OpenTelemetry: the contract is read by processes that have neither.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar, Final, TypeVar

import msgspec


class Domain(StrEnum):
    """Where an event comes from. ``ESPER`` is the telemetry layer speaking about the run and about itself."""

    TAMIYO = "tamiyo"
    TOLARIA = "tolaria"
    KASMINA = "kasmina"
    SIMIC = "simic"
    ESPER = "esper"


class Severity(StrEnum):
    """Severity of an event, by the names that esper-lite's log uses."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Tier(StrEnum):
    """What collecting a value costs the training step (plan, Appendix E).

    ``LOW``: already on the host, collected at every step. ``MEDIUM``: one extra transfer or iteration, every N batches.
    ``HIGH``: a full traversal or an external call, on demand.
    """

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Instrument(StrEnum):
    """What a value becomes in OpenTelemetry.

    GAUGE keeps the last value; COUNTER adds the field's value (or 1 when it stands on the class); TOTAL takes the
    field as a running total kept by the producer; HISTOGRAM records it; MAXIMUM keeps the largest value of the last
    minute, so that a person sees a spike that fell between two scrapes; VIOLATIONS counts values beyond a threshold,
    by severity; NONFINITE counts the values that are NaN or infinite, by kind; STATE is 1 for the current name of an
    enumerated field and 0 for the others; TIMESTAMP is the time of the event itself.
    """

    GAUGE = "gauge"
    COUNTER = "counter"
    TOTAL = "total"
    HISTOGRAM = "histogram"
    MAXIMUM = "maximum"
    VIOLATIONS = "violations"
    NONFINITE = "nonfinite"
    STATE = "state"
    TIMESTAMP = "timestamp"

    @property
    def otel(self) -> str:
        """The OpenTelemetry instrument that carries it."""
        return _OTEL_INSTRUMENT[self]


_OTEL_INSTRUMENT: Final = {
    Instrument.GAUGE: "gauge",
    Instrument.COUNTER: "counter",
    Instrument.TOTAL: "counter",
    Instrument.HISTOGRAM: "histogram",
    Instrument.MAXIMUM: "gauge",
    Instrument.VIOLATIONS: "counter",
    Instrument.NONFINITE: "counter",
    Instrument.STATE: "updowncounter",
    Instrument.TIMESTAMP: "gauge",
}


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value stops being healthy. The source of each number stands in ``reason``.

    A value violates ``above`` when it is greater than it, ``below`` when it is smaller; severity is the first of
    critical, warning that is violated, so one value is counted once.
    """

    warning_above: float | None = None
    critical_above: float | None = None
    warning_below: float | None = None
    critical_below: float | None = None
    reason: str

    def severity_of(self, value: float) -> Severity | None:
        """Severity of a finite ``value``, or None while it is healthy."""
        if self.critical_above is not None and value > self.critical_above:
            return Severity.CRITICAL
        if self.critical_below is not None and value < self.critical_below:
            return Severity.CRITICAL
        if self.warning_above is not None and value > self.warning_above:
            return Severity.WARNING
        if self.warning_below is not None and value < self.warning_below:
            return Severity.WARNING
        return None


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument fed by a field (or, on a class, by each event).

    Attributes:
        instrument: what the value becomes.
        name: metric name ``<domain>.<what>``; None means ``<domain>.<field>``.
        unit: UCUM base unit (``s``, ``By``, ``J``, ``W``, ``Cel``, ``Hz``, ``{thing}``), ``1`` only on ``*.ratio``,
            empty for a plain number.
        scale: factor from the field to the unit (``1e-3`` for a field in ms under unit ``s``).
        attributes: names of event fields that become attributes of this metric, beside those of the class.
        bounds: upper bounds of a histogram's buckets, floats inside [1e-4, 999999].
        threshold: for VIOLATIONS, what counts as one.
        description: what a reader sees; None takes the field's.
        shared: several fields feed this one metric; otherwise a second declaration of its name is refused.
    """

    instrument: Instrument
    name: str | None = None
    unit: str = ""
    scale: float = 1.0
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    threshold: Threshold | None = None
    description: str | None = None
    shared: bool = False


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """What a field means, what it costs, how older producers spell it.

    Attributes:
        description: meaning with unit and range, one sentence.
        tier: cost of collecting it.
        metrics: the instruments it feeds; none means that it appears in spans, logs and SQL only.
        key: for a map, the bounded attribute that its keys are values of (``head``, ``slot``, ``op``, …).
        aliases: other spellings understood on reading, the first is the one written in legacy mode. ``{key}`` stands
            for a map's key and turns one map into the columns that esper-lite writes.
        alias_scale: factor from an alias' value to this field (``1e-3`` when the alias is in ms and this in s).
    """

    description: str
    tier: Tier = Tier.LOW
    metrics: tuple[Metric, ...] = ()
    key: str | None = None
    aliases: tuple[str, ...] = ()
    alias_scale: float = 1.0


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of every event; :func:`declares` gives a subclass its name and registers it.

    A field that was not measured is None and is left out of the log; no default looks healthy. Non-finite numbers are
    observations and are kept. The class attributes are the declaration:

    Attributes:
        event_type: name in the log, ``TAMIYO_POLICY_UPDATE``.
        domain: the domain that it belongs to.
        otel_name: name of the OpenTelemetry log event, ``tamiyo.policy_update``.
        severity: severity unless the producer says otherwise.
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
"""Every event class by its name in the log, in order of declaration."""


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
) -> Field:
    """Declare a field: its meaning first, then the instruments that it feeds."""
    return Field(description=description, metrics=metrics, tier=tier, key=key, aliases=aliases, alias_scale=alias_scale)


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
    """Name an event and register it.

    A class decorator::

        @declares("TAMIYO_POLICY_UPDATE", domain=Domain.TAMIYO, legacy="PPO_UPDATE_COMPLETED")
        class PolicyUpdate(Event, frozen=True, kw_only=True):
            policy_loss: Annotated[float | None, note("Clipped surrogate objective.", gauge())] = None

    Raises:
        TypeError: another class has that name.
    """

    def register(cls: type[E]) -> type[E]:
        if event_type in EVENT_TYPES:
            raise TypeError(
                f"event type {event_type!r} is declared by {EVENT_TYPES[event_type].__name__} and {cls.__name__}"
            )
        cls.event_type = event_type
        cls.domain = domain
        cls.otel_name = otel_event_name(event_type, domain)
        cls.severity = severity
        cls.legacy_type = legacy
        cls.legacy_kind = legacy_kind
        cls.attributes = attributes
        cls.metrics = metrics
        cls.epoch_field = epoch_field
        EVENT_TYPES[event_type] = cls
        return cls

    return register


def gauge(name: str | None = None, *, unit: str = "", scale: float = 1.0, attributes: tuple[str, ...] = ()) -> Metric:
    """The last value, exported until a newer one replaces it."""
    return Metric(instrument=Instrument.GAUGE, name=name, unit=unit, scale=scale, attributes=attributes)


def counter(
    name: str | None = None,
    *,
    unit: str = "",
    scale: float = 1.0,
    attributes: tuple[str, ...] = (),
    description: str | None = None,
) -> Metric:
    """Adds the field's value (a true flag is 1); on a class, counts the events."""
    return Metric(
        instrument=Instrument.COUNTER,
        name=name,
        unit=unit,
        scale=scale,
        attributes=attributes,
        description=description,
    )


def total(name: str | None = None, *, unit: str = "", scale: float = 1.0) -> Metric:
    """A running total that the producer keeps; a smaller value than before means that it started again."""
    return Metric(instrument=Instrument.TOTAL, name=name, unit=unit, scale=scale)


def histogram(
    name: str | None = None,
    *,
    bounds: tuple[float, ...],
    unit: str = "",
    scale: float = 1.0,
    attributes: tuple[str, ...] = (),
) -> Metric:
    """A distribution; ``bounds`` are the upper bounds of its buckets, ascending."""
    return Metric(
        instrument=Instrument.HISTOGRAM, name=name, unit=unit, scale=scale, bounds=bounds, attributes=attributes
    )


def maximum(name: str, *, unit: str = "", description: str) -> Metric:
    """The largest value of the last 60 s, for people to read beside a counter that decides."""
    return Metric(instrument=Instrument.MAXIMUM, name=name, unit=unit, description=description)


def violations(name: str, *, threshold: Threshold, description: str) -> Metric:
    """Counts values beyond ``threshold`` with the attribute ``severity``; both severities exist at 0 from the start."""
    return Metric(
        instrument=Instrument.VIOLATIONS, name=name, unit="{violation}", threshold=threshold, description=description
    )


def nonfinite(name: str, *, unit: str, description: str, shared: bool = False) -> Metric:
    """Counts NaN and infinite values with the attribute ``kind``; both kinds exist at 0 from the start."""
    return Metric(instrument=Instrument.NONFINITE, name=name, unit=unit, description=description, shared=shared)


def state(name: str) -> Metric:
    """1 for the field's current name and 0 for every other name that the attribute allows."""
    return Metric(instrument=Instrument.STATE, name=name)


def timestamp(name: str, *, description: str) -> Metric:
    """Unix time of the event in s, declared on a class."""
    return Metric(instrument=Instrument.TIMESTAMP, name=name, unit="s", description=description)
