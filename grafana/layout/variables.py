"""The variables of every dashboard, named like the labels that they filter, so that links can set them."""

from __future__ import annotations

from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.models import dashboard as models

from esper_otel.alerts.promql import metric
from esper_otel.events import EVENT_TYPES
from esper_otel.events.declare import Domain, Severity
from grafana.panels.panel import PROMETHEUS
from grafana.queries.logql import LEFT_OUT, of_every_step
from grafana.queries.runs import EVERY, NEWEST, POINT, newest_first
from grafana.queries.truth import SMOOTHING

ALL: Final = "$__all"
ANY: Final = ".*"
AT_LEAST_ONE: Final = ".+"
RESULTS: Final = 3
"""Grafana's number of a variable whose values are cut out of the results of a query."""

SELDOM_CHOSEN: Final = models.VariableHide.IN_CONTROLS_MENU
"""Variables in the menu at the right: in a line of their own each they take the first screen from the charts."""

CHOSEN_RUN: Final = {"job": "~$job", "instance": "~$instance"}


def variables(queries: str) -> list[Any]:
    """Data sources, job, run, group, rank, environment and slot; unused ones are hidden."""
    found = [
        _source("datasource", "Prometheus", "prometheus"),
        _source("loki", "Loki", "loki", hide=True),
        _source("tempo", "Tempo", "tempo", hide=True),
        _label("job", "Job", metric("esper.run.status"), every=AT_LEAST_ONE).hide(SELDOM_CHOSEN),
        _run("instance", "Run", newest_first(EVERY)),
        _label("group_id", "Group", metric("esper.events", **CHOSEN_RUN), every=ANY),
        _label("rank", "Rank", metric("esper.events", **CHOSEN_RUN), every=ANY).hide(SELDOM_CHOSEN),
        _label("env_id", "Env", metric("tolaria.epochs", **CHOSEN_RUN), every=ANY),
        _label("slot", "Slot", metric("kasmina.seed_state", **CHOSEN_RUN), every=ANY),
    ]
    for variable in found:
        if f"${variable.build().name}" not in queries and variable.build().type_val == models.VariableType.QUERY:
            variable.hide(models.VariableHide.HIDE_VARIABLE)
    return found


def event_log_variables() -> list[Any]:
    """Domain, severity and detail, for the event log."""
    by_domain = {
        domain.value: "|".join(sorted(name for name, event in EVENT_TYPES.items() if event.domain == domain))
        for domain in Domain
    }
    return [
        _choice("domain", "Domain", by_domain),
        _choice("severity", "Severity", {severity.value: severity.value.upper() for severity in Severity}),
        # Of every step there are so many that the lines of a panel would be those of some seconds.
        one_of(LEFT_OUT, "Detail", {"rounds and seeds": "|".join(of_every_step()), "every step": "none"}).hide(
            SELDOM_CHOSEN
        ),
    ]


def _source(name: str, label: str, kind: str, *, hide: bool = False) -> Any:
    shown = models.VariableHide.HIDE_VARIABLE if hide else SELDOM_CHOSEN
    return sdk.DatasourceVariable(name).label(label).type(kind).hide(shown).include_all(False).multi(False)


def _label(name: str, label: str, selector: str, *, every: str) -> Any:
    """A variable with the values of a label; ``every`` is the value of All, empty if one value is chosen."""
    query = f"label_values({selector}, {name})"
    built = (
        sdk.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": f"variable-{name}", "qryType": 1})
        .definition(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
        .multi(bool(every))
        .include_all(bool(every))
    )
    if every:
        built.all_value(every).current(models.VariableOption(selected=True, text=["All"], value=[ALL]))
    return built


def _run(name: str, label: str, query: str) -> Any:
    """A variable with names of runs, in the order of the query's results, whatever time is shown."""
    return (
        sdk.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": f"variable-{name}", "qryType": RESULTS})
        .definition(query)
        .regex('/instance="([^"]+)"/')
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.DISABLED)
    )


def runs_variable() -> Any:
    """The runs that are compared: the newest ones, until some are chosen."""
    every = models.VariableOption(selected=True, text=["All"], value=[ALL])
    return _run("runs", "Compare", newest_first(EVERY, NEWEST)).multi(True).include_all(True).current(every)


def comparison_variables() -> list[Any]:
    """Choices of smoothing and of rounds a point for the lines of a comparison."""
    smoothing = {"off": "1s", "1 min": "1m", "5 min": "5m", "15 min": "15m", "1 h": "1h"}
    points = {number: number for number in ("1", "2", "5", "10", "20", "50")}
    return [one_of(SMOOTHING, "Smoothing", smoothing), one_of(POINT, "Rounds a point", points)]


def one_of(name: str, label: str, values: dict[str, str]) -> Any:
    """A variable with one of ``values`` by the words for them, the first until another is chosen."""
    listed = ", ".join(f"{word} : {value}" for word, value in values.items())
    word, value = next(iter(values.items()))
    current = models.VariableOption(selected=True, text=word, value=value)
    return sdk.CustomVariable(name).label(label).values(listed).multi(False).include_all(False).current(current)


def _choice(name: str, label: str, values: dict[str, str]) -> Any:
    listed = ", ".join(f"{word} : {value}" for word, value in values.items())
    return (
        sdk.CustomVariable(name)
        .label(label)
        .values(listed)
        .multi(True)
        .include_all(True)
        .all_value(AT_LEAST_ONE)
        .hide(SELDOM_CHOSEN)
        .current(models.VariableOption(selected=True, text=["All"], value=[ALL]))
    )
