"""PromQL from the registry, filtered by the variables of a dashboard.

A panel names signals. The selectors come from :func:`deploy.prometheus.expressions.metric`, so that a metric or a
label that does not exist is an error when the dashboard is built. Every result keeps ``group_id`` where the signal
has it, so that the arms of an A/B run are never mixed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from deploy.prometheus.expressions import metric
from grafana.facts import labels_of, unit_of

WINDOW: Final = "$__rate_interval"
"""Window of rates: at least four scrapes."""

RANGE: Final = "$__range"
"""The whole time that is shown."""

RUN_LABELS: Final = ("job", "instance")
FILTERS: Final = ("group_id", "rank", "env_id", "slot")
"""Labels that a variable of the same name filters where the signal has them."""

ARM: Final = "group_id"


class Prom(msgspec.Struct, frozen=True, kw_only=True):
    """One PromQL expression.

    Attributes:
        text: the expression.
        signals: OpenTelemetry names of the signals that it asks for.
        labels: labels that each of its results has.
        unit: Grafana's unit of the result.
    """

    text: str
    signals: tuple[str, ...]
    labels: tuple[str, ...]
    unit: str


def select(name: str, part: str = "", **labels: str) -> str:
    """Selector of a signal for the chosen run, group, rank, environment and slot, and ``labels``."""
    chosen = {label: f"~${label}" for label in RUN_LABELS}
    own = labels_of(name)
    chosen |= {label: f"~${label}" for label in FILTERS if label in own}
    return metric(name, part, **{**chosen, **labels})


def _grouped(name: str, by: tuple[str, ...]) -> tuple[str, ...]:
    own = labels_of(name)
    if unknown := set(by) - own - set(RUN_LABELS) - {"le"}:
        raise KeyError(f"metric {name!r} has no label {', '.join(sorted(unknown))}")
    return (*by, *((ARM,) if ARM in own and ARM not in by else ()))


def _aggregate(agg: str, name: str, by: tuple[str, ...], inner: str, unit: str) -> Prom:
    labels = _grouped(name, by)
    return Prom(text=f"{agg} by ({', '.join(labels)}) ({inner})", signals=(name,), labels=labels, unit=unit)


def last(name: str, *by: str, agg: str = "avg", **labels: str) -> Prom:
    """The value now: ``agg`` over what is not in ``by``."""
    return _aggregate(agg, name, by, select(name, **labels), unit_of(name))


def latest(name: str, *by: str, agg: str = "avg", **labels: str) -> Prom:
    """The newest value in the time shown, also of a run that is over: for tables."""
    return _aggregate(agg, name, by, f"last_over_time({select(name, **labels)}[{RANGE}])", unit_of(name))


def peak(name: str, *by: str, **labels: str) -> Prom:
    """The largest value in the time shown: for tables."""
    return _aggregate("max", name, by, f"max_over_time({select(name, **labels)}[{RANGE}])", unit_of(name))


def averaged(name: str, *by: str, **labels: str) -> Prom:
    """The mean over the time shown: of a signal that is set anew at every step, a sample of its mean by step."""
    return _aggregate("avg", name, by, f"avg_over_time({select(name, **labels)}[{RANGE}])", unit_of(name))


def total(name: str, *by: str, **labels: str) -> Prom:
    """What a counter counted since the run began."""
    return _aggregate("sum", name, by, select(name, **labels), unit_of(name))


def counted(name: str, **labels: str) -> Prom:
    """What a counter counted since the run began, over all groups; 0 where it was never needed and the run is heard."""
    heard = f"0 * max({select('esper.telemetry.records')})"
    text = f"sum({select(name, **labels)}) or {heard}"
    return Prom(text=text, signals=(name,), labels=(), unit=unit_of(name))


def rate(name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """What a counter counts each second."""
    unit = {"short": "cps", "bytes": "binBps", "s": "percentunit"}.get(unit_of(name), unit_of(name))
    return _aggregate("sum", name, by, f"rate({select(name, **labels)}[{over}])", unit)


def increase(name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """What a counter counted in the window."""
    return _aggregate("sum", name, by, f"increase({select(name, **labels)}[{over}])", unit_of(name))


def quantile(fraction: float, name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """A quantile of a histogram's observations in the window."""
    rates = _aggregate("sum", name, ("le", *by), f"rate({select(name, 'bucket', **labels)}[{over}])", unit_of(name))
    return msgspec.structs.replace(
        rates,
        text=f"histogram_quantile({fraction:g}, {rates.text})",
        labels=tuple(label for label in rates.labels if label != "le"),
    )


def mean(name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """The mean of a histogram's observations in the window."""
    sums, counts = (
        _aggregate("sum", name, by, f"rate({select(name, part, **labels)}[{over}])", unit_of(name))
        for part in ("sum", "count")
    )
    return msgspec.structs.replace(divided(sums, counts), unit=unit_of(name))


def buckets(name: str, **labels: str) -> Prom:
    """Observations by bucket in the window, for a heat map."""
    text = f"sum by (le) (increase({select(name, 'bucket', **labels)}[{WINDOW}]))"
    return Prom(text=text, signals=(name,), labels=("le",), unit=unit_of(name))


def age(name: str, *by: str, **labels: str) -> Prom:
    """Seconds since a time that a signal holds."""
    newest = _aggregate("max", name, by, select(name, **labels), "s")
    return msgspec.structs.replace(newest, text=f"time() - {newest.text}")


def divided(part: Prom, whole: Prom) -> Prom:
    """``part`` over ``whole``; nothing where ``whole`` is 0.

    Raises:
        ValueError: the two have different labels, so that Prometheus would match nothing.
    """
    if set(part.labels) != set(whole.labels):
        raise ValueError(f"labels differ: {part.labels} and {whole.labels}")
    return Prom(
        text=f"{part.text} / ({whole.text} > 0)",
        signals=tuple(dict.fromkeys((*part.signals, *whole.signals))),
        labels=part.labels,
        unit="percentunit",
    )


def minus(left: Prom, right: Prom) -> Prom:
    """``left`` minus ``right``, in the unit of ``left``.

    Raises:
        ValueError: the two have different labels.
    """
    return msgspec.structs.replace(divided(left, right), text=f"{left.text} - {right.text}", unit=left.unit)


def plus(left: Prom, right: Prom) -> Prom:
    """``left`` plus ``right``, in the unit of ``left``; in parentheses, so that it can be divided.

    Raises:
        ValueError: the two have different labels.
    """
    return msgspec.structs.replace(divided(left, right), text=f"({left.text} + {right.text})", unit=left.unit)


def only_where(expression: Prom, condition: str) -> Prom:
    """``expression`` filtered by a comparison, ``== 1`` or ``> 0``."""
    return msgspec.structs.replace(expression, text=f"{expression.text} {condition}")


def best(count: int, expression: Prom) -> Prom:
    """The ``count`` largest results."""
    return msgspec.structs.replace(expression, text=f"topk({count}, {expression.text})")


def worst(count: int, expression: Prom) -> Prom:
    """The ``count`` smallest results."""
    return msgspec.structs.replace(expression, text=f"bottomk({count}, {expression.text})")


def raw(text: str, *, labels: tuple[str, ...] = (), unit: str = "short", signals: tuple[str, ...] = ()) -> Prom:
    """An expression that no function here makes, with what it asks for; for foreign metrics (``up``, ``ALERTS``)."""
    return Prom(text=text, signals=signals, labels=labels, unit=unit)
