"""Facts of whole runs for tables with a row for each: by job and instance, of every run that Prometheus still has."""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.alerts.promql import GROUP, RUN, aggregated, metric
from esper_otel.signals.names import prometheus_label
from esper_otel.signals.own import CONFIGURED
from grafana.queries import truth
from grafana.queries.facts import unit_of
from grafana.queries.promql import Prom, raw, state, with_a_choice
from grafana.queries.summaries import or_summary

EVERY: Final = {"job": "~$job", "instance": "~.+"}
CHOSEN: Final = {"job": "~$job", "instance": "~$runs"}
"""Runs that the variable of the comparison names."""

AFTER_S: Final = 120
"""How long after the last event the time of a run ends: by then a killed one counts as vanished."""

NEWEST: Final = 12
"""Runs that the comparison offers; all of them are drawn until some are chosen."""

POINT: Final = "point"
"""Variable with the number of rounds that a point of a spread holds."""

DEFAULT_ARM: Final = "default"
"""Group of what is recorded without one."""

REVISION: Final = prometheus_label("vcs.ref.head.revision")
_EVENT: Final = "esper.relay.last_record.timestamp"


def began(which: dict[str, str]) -> str:
    """Unix time of the first event that was scraped, which is seconds after the first event."""
    return aggregated("min", truth.whole_run("min_over_time", metric(_EVENT, **which)), RUN)


def ended(which: dict[str, str]) -> str:
    """Unix time of the last event."""
    return aggregated("max", truth.whole_run("last_over_time", metric(_EVENT, **which)), RUN)


def newest_first(which: dict[str, str], count: int = 0) -> str:
    """Names of runs as the query of a variable, the one that began last first."""
    found = f"topk({count}, {began(which)})" if count else began(which)
    return f"query_result(sort_desc({found}))"


def start(which: dict[str, str]) -> Prom:
    """Start, Unix ms."""
    return raw(f"floor(1000 * {began(which)})", labels=RUN, unit="dateTimeAsIso", signals=(_EVENT,))


def end(which: dict[str, str]) -> Prom:
    """Time of the last event of a run that is over, Unix ms."""
    text = truth.once_over(ended(which), state(**which).text)
    return raw(text, labels=RUN, unit="dateTimeAsIso", signals=(_EVENT, "esper.run.status"))


def of_each_arm(fact: Prom, which: dict[str, str]) -> Prom:
    """A fact of a run for each of its arms; a run without a start of training has one that is called as by default."""
    began_training = aggregated("max", truth.value(metric("esper.run.info", **which)), (*RUN, GROUP))
    known = f'label_replace(0 * {ended(which)} + 1, "{GROUP}", "{DEFAULT_ARM}", "", "")'
    own = ", ".join(label for label in fact.labels if label not in RUN)
    text = f"({fact.text}) * on (job, instance) group_right ({own}) ({began_training} or on (job, instance) {known})"
    return msgspec.structs.replace(fact, text=text, labels=(*RUN, GROUP, *fact.labels[len(RUN) :]))


def duration(which: dict[str, str]) -> Prom:
    """Time from the first to the last event."""
    return raw(f"{ended(which)} - {began(which)}", labels=RUN, unit="s", signals=(_EVENT,))


def until(which: dict[str, str]) -> Prom:
    """End of the time that shows the run, Unix ms; 0 while it lives."""
    end = f"floor(1000 * ({ended(which)} + {AFTER_S}))"
    return raw(f"{end} * (1 - {lives(which).text})", labels=RUN, unit="none", signals=(_EVENT,))


def lives(which: dict[str, str]) -> Prom:
    """1 while the run is running or stalled, else 0."""
    # The numbers of those two states are the only ones that lie nearer than 1 to the middle between them.
    middle = sum(truth.ALIVE) / len(truth.ALIVE)
    return raw(
        f"(abs(({state(**which).text}) - {middle:g}) < bool 1)", labels=RUN, unit="none", signals=("esper.run.status",)
    )


def final(name: str, which: dict[str, str], agg: str = "avg", *by: str) -> Prom:
    """Value of a signal: now, or the last one of a run that is over."""
    labels = (*RUN, *by)
    selector = or_summary(name, metric(name, **which), agg, by)
    return raw(aggregated(agg, truth.value(selector), labels), labels=labels, unit=unit_of(name), signals=(name,))


def best(name: str, which: dict[str, str], *by: str) -> Prom:
    """Largest value of a signal in the whole run."""
    labels = (*RUN, *by)
    largest = truth.whole_run("max_over_time", or_summary(name, metric(name, **which), "max", by))
    return raw(aggregated("max", largest, labels), labels=labels, unit=unit_of(name), signals=(name,))


def lowest_entropy(which: dict[str, str], *by: str) -> Prom:
    """Entropy of the head that has least, of its maximum in the steps with a choice."""
    labels, name = (*RUN, *by), "tamiyo.head_entropy"
    text = aggregated("min", with_a_choice(name, lambda signal: metric(signal, **which)), labels)
    return raw(text, labels=labels, unit="percentunit", signals=(name,))


def smoothed(name: str, which: dict[str, str], *by: str) -> Prom:
    """Value of a signal at every step, smoothed."""
    labels = (*RUN, *by)
    text = aggregated("avg", truth.smoothed(or_summary(name, metric(name, **which), "avg", by)), labels)
    return raw(text, labels=labels, unit=unit_of(name), signals=(name,))


def in_steps(rounds: Prom) -> Prom:
    """Rounds, several to a point: two runs are seldom scraped in the same one."""
    return msgspec.structs.replace(rounds, text=f"floor({rounds.text} / ${POINT}) * ${POINT}")


def with_configuration(expression: Prom, which: dict[str, str], label: str) -> Prom:
    """``expression`` with what the run began with, apart from its random seed, as one ``label``."""
    said = ", ".join(f'"{name}"' for name in CONFIGURED if name != "seed")
    info = truth.value(metric("esper.run.info", **which))
    known = f'max by (job, instance, group_id, {label}) (label_join({info}, "{label}", " · ", {said}))'
    text = f"{expression.text} * on (job, instance, group_id) group_left ({label}) {known}"
    signals = (*expression.signals, "esper.run.info")
    return raw(text, labels=(*expression.labels, label), unit=expression.unit, signals=signals)


def began_with(which: dict[str, str]) -> Prom:
    """1, labelled with what each arm of the run began with."""
    labels = (*RUN, GROUP, *CONFIGURED)
    info = aggregated("max", truth.value(metric("esper.run.info", **which)), labels)
    return raw(_one(info, *RUN, GROUP), labels=labels, unit="none", signals=("esper.run.info",))


def commit(which: dict[str, str]) -> Prom:
    """1, labelled with the first eight digits of the commit that is trained."""
    chosen = ", ".join(f'{label}=~"{value.removeprefix("~")}"' for label, value in which.items())
    told = truth.value(f'target_info{{{chosen}, {REVISION}!=""}}')
    short = f'label_replace({told}, "commit", "$1", "{REVISION}", "(.{{8}}).*")'
    return raw(_one(f"max by (job, instance, commit) ({short})", *RUN), labels=(*RUN, "commit"), unit="none")


def _one(text: str, *by: str) -> str:
    return f"topk by ({', '.join(by)}) (1, {text})"


def fired(which: dict[str, str]) -> Prom:
    """Number of alerts that fired at any time of the run."""
    chosen = ", ".join(f'{label}=~"{value.removeprefix("~")}"' for label, value in which.items())
    seen = truth.whole_run("last_over_time", f'ALERTS{{alertstate="firing", {chosen}}}')
    return raw(f"count by (job, instance) (count by (job, instance, alertname) ({seen}))", labels=RUN, unit="none")


def behind(expression: Prom) -> Prom:
    """Difference to the largest result of the same query."""
    text = f"({expression.text}) - scalar(max({expression.text}))"
    return raw(text, labels=expression.labels, unit=expression.unit, signals=expression.signals)
