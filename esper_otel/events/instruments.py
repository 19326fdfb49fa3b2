"""The instruments that an event's fields can feed, and the limits beyond which a value is not healthy."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from esper_otel.events.bounds import SECONDS

GIB: Final = 2.0**30
"""Factor of the ``*_gb`` fields, which hold GiB as esper-lite writes them."""


class Severity(StrEnum):
    """Severity of an event, by the names that esper-lite's log uses."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Instrument(StrEnum):
    """Translation of a value to OpenTelemetry.

    GAUGE keeps the last value; COUNTER adds the field's value (or 1 when it stands on the class); TOTAL takes the
    field as a running total kept by the producer; HISTOGRAM records it; MAXIMUM keeps the largest value of the last
    minute, so that a spike between two scrapes remains visible; VIOLATIONS counts values beyond a threshold,
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


class Threshold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits beyond which a value is not healthy. ``reason`` names the source of each number.

    A value violates ``above`` when it is greater than it, ``below`` when it is smaller; severity is the first of
    critical, warning that is violated, so one value is counted once.
    """

    warning_above: float | None = None
    critical_above: float | None = None
    warning_below: float | None = None
    critical_below: float | None = None
    reason: str

    def scaled(self, factor: float) -> Threshold:
        """The same limits in another unit."""
        return Threshold(
            warning_above=self.warning_above and self.warning_above * factor,
            critical_above=self.critical_above and self.critical_above * factor,
            warning_below=self.warning_below and self.warning_below * factor,
            critical_below=self.critical_below and self.critical_below * factor,
            reason=self.reason,
        )

    @property
    def levels(self) -> dict[str, float]:
        """The limits that are set, by name."""
        names = ("warning_above", "critical_above", "warning_below", "critical_below")
        return {name: level for name in names if (level := getattr(self, name)) is not None}

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


class Metric(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instrument fed by a field (or, on a class, by each event).

    Attributes:
        instrument: translation of the value.
        name: metric name ``<domain>.<what>``; None means ``<domain>.<field>``.
        unit: UCUM base unit (``s``, ``By``, ``J``, ``W``, ``Cel``, ``Hz``, ``{thing}``), ``1`` only on ``*.ratio``,
            empty for a plain number.
        scale: factor from the field to the unit (``1e-3`` for a field in ms under unit ``s``).
        attributes: names of event fields that become attributes of this metric, beside those of the class.
        bounds: upper bounds of a histogram's buckets, floats inside [1e-4, 999999].
        is_signed: whether a histogram's observations may be negative; it then has no sum, since a sum that falls looks
            like a restart.
        threshold: for VIOLATIONS, what counts as one.
        description: text for readers; None uses the field's.
        shared: several fields feed this one metric; otherwise a second declaration of its name is refused.
    """

    instrument: Instrument
    name: str | None = None
    unit: str = ""
    scale: float = 1.0
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    is_signed: bool = False
    threshold: Threshold | None = None
    description: str | None = None
    shared: bool = False


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
    shared: bool = False,
) -> Metric:
    """A counter: adds the field's value (a true flag is 1); on a class, counts the events."""
    return Metric(
        instrument=Instrument.COUNTER,
        name=name,
        unit=unit,
        scale=scale,
        attributes=attributes,
        description=description,
        shared=shared,
    )


def total(name: str | None = None, *, unit: str = "", scale: float = 1.0) -> Metric:
    """A running total kept by the producer; a smaller value than before means that it was reset."""
    return Metric(instrument=Instrument.TOTAL, name=name, unit=unit, scale=scale)


def histogram(
    name: str | None = None,
    *,
    bounds: tuple[float, ...],
    unit: str = "",
    scale: float = 1.0,
    attributes: tuple[str, ...] = (),
    is_signed: bool = False,
) -> Metric:
    """A distribution; ``bounds`` are the upper bounds of its buckets, ascending.

    ``is_signed``: observations may be negative, as those of a plain KL estimator; the histogram then has no sum.
    """
    return Metric(
        instrument=Instrument.HISTOGRAM,
        name=name,
        unit=unit,
        scale=scale,
        bounds=bounds,
        attributes=attributes,
        is_signed=is_signed,
    )


def maximum(name: str, *, unit: str = "", description: str) -> Metric:
    """The largest value of the last 60 s, for people to read beside the counter that an alert uses."""
    return Metric(instrument=Instrument.MAXIMUM, name=name, unit=unit, description=description)


def violations(name: str, *, threshold: Threshold, description: str) -> Metric:
    """A counter of values beyond ``threshold``, with attribute ``severity``; both severities start at 0."""
    return Metric(
        instrument=Instrument.VIOLATIONS, name=name, unit="{violation}", threshold=threshold, description=description
    )


def nonfinite(name: str, *, unit: str, description: str, shared: bool = False) -> Metric:
    """A counter of NaN and infinite values, with attribute ``kind``; both kinds start at 0."""
    return Metric(instrument=Instrument.NONFINITE, name=name, unit=unit, description=description, shared=shared)


def state(name: str) -> Metric:
    """1 for the field's current name and 0 for every other name that the attribute allows."""
    return Metric(instrument=Instrument.STATE, name=name)


def timestamp(name: str, *, description: str) -> Metric:
    """Unix time of the event in s, declared on a class."""
    return Metric(instrument=Instrument.TIMESTAMP, name=name, unit="s", description=description)


def milliseconds(name: str) -> Metric:
    """A distribution of durations: the field is in ms, the metric in s."""
    return histogram(name, unit="s", scale=1e-3, bounds=SECONDS)


def gibibytes(name: str) -> Metric:
    """The last size: the field is in GiB, the metric in bytes."""
    return gauge(name, unit="By", scale=GIB)
