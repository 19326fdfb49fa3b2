"""PromQL from the registry, filtered by the variables of a dashboard.

A panel names signals. The text comes from :mod:`esper_otel.alerts.promql`, as that of the rules does, so that a metric
or a label that does not exist is an error when the dashboard is built. Every result keeps ``group_id`` where the signal
has it, so that the arms of an A/B run are never mixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from esper_otel.alerts.promql import GROUP, RUN, aggregated, labels_of, metric, quantile_of, windowed
from esper_otel.events import EVENT_TYPES
from grafana.queries import truth
from grafana.queries.facts import unit_of
from grafana.queries.summaries import or_summary

WINDOW: Final = truth.window()
"""Window of rates: that of the step in a chart, a fixed one in a single number."""

LINE: Final = "line"
"""Label with the name of a line, where one query asks for several."""

FILTERS: Final = (GROUP, "rank", "env_id", "slot")
"""Labels that a variable of the same name filters where the signal has them."""


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
    chosen = {label: f"~${label}" for label in RUN}
    own = labels_of(name)
    chosen |= {label: f"~${label}" for label in FILTERS if label in own}
    return metric(name, part, **{**chosen, **labels})


def of_all(name: str, *by: str, agg: str = "avg", **labels: str) -> str:
    """Selector of a gauge whose ``agg`` by ``by`` is taken, in summary mode too."""
    return or_summary(name, select(name, **labels), agg, by)


def _grouped(name: str, by: tuple[str, ...]) -> tuple[str, ...]:
    own = labels_of(name)
    if unknown := set(by) - own - set(RUN) - {"le"}:
        raise KeyError(f"metric {name!r} has no label {', '.join(sorted(unknown))}")
    return (*by, *((GROUP,) if GROUP in own and GROUP not in by else ()))


def _aggregate(agg: str, name: str, by: tuple[str, ...], inner: str, unit: str) -> Prom:
    labels = _grouped(name, by)
    return Prom(text=aggregated(agg, inner, labels), signals=(name,), labels=labels, unit=unit)


def last(name: str, *by: str, agg: str = "avg", **labels: str) -> Prom:
    """The value: ``agg`` over what is not in ``by``. Of a run that is over, the last one."""
    return _aggregate(agg, name, by, truth.value(of_all(name, *by, agg=agg, **labels)), unit_of(name))


def now(name: str, *by: str, agg: str = "avg", **labels: str) -> Prom:
    """The value as it is scraped, for what a run that is over does not have."""
    return _aggregate(agg, name, by, of_all(name, *by, agg=agg, **labels), unit_of(name))


def peak(name: str, *by: str, **labels: str) -> Prom:
    """The largest value of the run, for tables."""
    return _aggregate(
        "max", name, by, truth.whole_run("max_over_time", of_all(name, *by, agg="max", **labels)), unit_of(name)
    )


def averaged(name: str, *by: str, **labels: str) -> Prom:
    """The mean over the run: of a signal that is set anew at every step, a sample of its mean by step."""
    return _aggregate("avg", name, by, truth.whole_run("avg_over_time", of_all(name, *by, **labels)), unit_of(name))


def total(name: str, *by: str, **labels: str) -> Prom:
    """Increase of a counter since the run began."""
    return _aggregate("sum", name, by, truth.value(select(name, **labels)), unit_of(name))


def counted(name: str, **labels: str) -> Prom:
    """Increase of a counter since the run began, over all groups; 0 if the producer looked and never counted.

    The telemetry layer looks at every line. A domain looks from its first event on: a plain training loop has no
    policy, and no number of sound policy updates.
    """
    own, domain = select(name, **labels), name.split(".", 1)[0]
    if domain == "esper":
        text = f"sum({truth.value(own)}) or 0 * max({truth.value(select('esper.telemetry.records'))})"
    else:
        text = f"sum({truth.value(own)}) and on () ({_heard_of(domain)} > 0)"
    return Prom(text=text, signals=(name,), labels=(), unit=unit_of(name))


def _heard_of(domain: str) -> str:
    """Count of the events by which a domain shows that it is at work; every run has a start of training."""
    types = sorted(name for name, event in EVENT_TYPES.items() if event.domain == domain and name != "TRAINING_STARTED")
    chosen = {label: f"~${label}" for label in RUN}
    events = metric("esper.events", event_type="~" + "|".join(types), **chosen)
    return f"sum({truth.value(events)})"


def state(**run: str) -> Prom:
    """The number of the run's state, see :data:`grafana.queries.truth.STATES`."""
    chosen = {label: f"~${label}" for label in RUN} | run
    return Prom(text=truth.state(**chosen), signals=("esper.run.status",), labels=RUN, unit="short")


def rate(name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """Increase of a counter per second."""
    unit = {"short": "cps", "bytes": "binBps", "s": "percentunit"}.get(unit_of(name), unit_of(name))
    return _aggregate("sum", name, by, windowed("rate", select(name, **labels), over), unit)


def increase(name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """Increase of a counter in the window."""
    return _aggregate("sum", name, by, windowed("increase", select(name, **labels), over), unit_of(name))


def quantile(fraction: float, name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """A quantile of a histogram's observations in the window."""
    rates = _aggregate(
        "sum", name, ("le", *by), windowed("rate", select(name, "bucket", **labels), over), unit_of(name)
    )
    return msgspec.structs.replace(
        rates,
        text=quantile_of(fraction, rates.text),
        labels=tuple(label for label in rates.labels if label != "le"),
    )


def highest(name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """The largest value in the window."""
    return _aggregate(
        "max", name, by, windowed("max_over_time", of_all(name, *by, agg="max", **labels), over), unit_of(name)
    )


def at_most(what: Prom, top: Prom) -> Prom:
    """``what``, or ``top`` where that is less: a quantile ends at the bound of a bucket, above every observation."""
    if set(what.labels) != set(top.labels):
        raise ValueError(f"the labels differ: {what.labels} and {top.labels}; group both by the same")
    text = f"({top.text} and ({what.text} > {top.text})) or {what.text}"
    return msgspec.structs.replace(what, text=text, signals=(*what.signals, *top.signals))


def mean(name: str, *by: str, over: str = WINDOW, **labels: str) -> Prom:
    """The mean of a histogram's observations in the window."""
    sums, counts = (
        _aggregate("sum", name, by, windowed("rate", select(name, part, **labels), over), unit_of(name))
        for part in ("sum", "count")
    )
    return msgspec.structs.replace(divided(sums, counts), unit=unit_of(name))


def age(name: str, *by: str, **labels: str) -> Prom:
    """Seconds since a time that a signal holds."""
    newest = _aggregate("max", name, by, truth.value(of_all(name, *by, agg="max", **labels)), "s")
    return msgspec.structs.replace(newest, text=f"time() - {newest.text}")


def ended() -> Prom:
    """Time of the last event of a run that is over, Unix ms."""
    newest = last("esper.relay.last_record.timestamp", *RUN, agg="max")
    return msgspec.structs.replace(newest, text=truth.once_over(newest.text, state().text))


def larger(one: Prom, other: Prom) -> Prom:
    """The larger of two results with the same labels, or the one that is there."""
    text = f"(({one.text}) > ({other.text}) or ({other.text}) or ({one.text}))"
    return msgspec.structs.replace(one, text=text, signals=(*one.signals, *other.signals))


def of_seeds(name: str, *by: str, agg: str = "avg") -> Prom:
    """A number of the slots that have a seed. A dormant one had one: a moment ago, or before the run was over."""
    slot = ("env_id", "slot")
    own = last(name, *slot, *by, agg=agg)
    empty = last("kasmina.seed_state", *slot, agg="max", stage="DORMANT")
    text = f"({own.text} unless on (env_id, slot, group_id) ({empty.text} == 1))"
    return msgspec.structs.replace(own, text=text, signals=(*own.signals, *empty.signals))


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


def head(name: str, *by: str, agg: str = "avg") -> Prom:
    """A number of the heads that had a choice in the last update."""
    return _aggregate(agg, name, by, with_a_choice(name, select), unit_of(name))


def with_a_choice(name: str, selected: Callable[[str], str]) -> str:
    """The value of each head without those that had no choice in the last update, whose numbers are of an older one.

    While a run lives they are absent by themselves. Of a run that is over, the last value of each series is asked for.
    """
    idle = f"{truth.value(selected('tamiyo.head_learnable_fraction'))} == 0"
    return f"({truth.value(selected(name))} unless on (job, instance, group_id, rank, head) ({idle}))"


def head_entropy(*by: str) -> Prom:
    """Entropy of a head over its maximum, in the steps that gave it a choice: the smallest of those not in ``by``."""
    return msgspec.structs.replace(head("tamiyo.head_entropy", *by, agg="min"), unit="percentunit")


def over_arms(agg: str, expression: Prom) -> Prom:
    """One result for the run: ``agg`` over its arms."""
    labels = tuple(label for label in expression.labels if label != GROUP)
    return msgspec.structs.replace(expression, text=aggregated(agg, expression.text, labels), labels=labels)


def joined(lines: tuple[tuple[str, Prom], ...]) -> Prom:
    """Several expressions as one query, each result named in the label :data:`LINE`.

    A name may contain one label of its results, ``{{label}}``.
    """
    return Prom(
        text=" or ".join(_named(name, line.text) for name, line in lines),
        signals=tuple(dict.fromkeys(signal for _, line in lines for signal in line.signals)),
        labels=(*(label for label in lines[0][1].labels if all(label in line.labels for _, line in lines)), LINE),
        unit=lines[0][1].unit,
    )


def _named(name: str, text: str) -> str:
    before, _, label, after = re.fullmatch(r"(.*?)({{(\w+)}}(.*))?", name).groups()  # type: ignore[union-attr]
    said, source, pattern = (f"{before}$1{after}", label, "(.*)") if label else (name, "", "")
    return f'label_replace({text}, "{LINE}", "{said}", "{source}", "{pattern}")'


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
    """A custom expression with its signals and labels; for foreign metrics (``up``, ``ALERTS``)."""
    return Prom(text=text, signals=signals, labels=labels, unit=unit)
