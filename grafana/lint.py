"""Rules of Grafana's dashboard-linter and additional rules of this project.

The rules carry the linter's names. ``EXEMPT`` has the reason for each exception; the linter itself is a
Go program that cannot be installed by ``go install``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, Final

from grafana.built import ROWS, Json, asked_of_prometheus, everything_on, panels_of
from grafana.looks import LOOKS
from grafana.panels.panel import GREY
from grafana.queries.truth import GAP_MS

SOURCES: Final = {"prometheus": "${datasource}", "loki": "${loki}", "tempo": "${tempo}"}
WITHOUT_UNIT: Final = {ROWS, "text", "logs"}
COUNTER_SUFFIXES: Final = ("_total", "_bucket", "_sum", "_count")
SHOWN_AS_TOTAL: Final = {"stat", "table"}

EXEMPT: Final = {
    "template-instance-rule": "A dashboard shows one run; arms of a run are compared by group.",
    "target-counter-agg-rule": "A stat or a table shows what was counted since the run began.",
    "target-logql-auto-rule": "Log queries show lines and count none, so that they have no range.",
}
"""Rules that are followed in part, with the reason."""


def problems(dashboard: Json) -> list[str]:
    """One sentence for each rule that the dashboard breaks."""
    return [f"{dashboard.get('uid')}: {found}" for rule in RULES for found in rule(dashboard)]


def problems_between(dashboards: list[Json]) -> list[str]:
    """Problems of the dashboards as a set."""
    uids = [dashboard["uid"] for dashboard in dashboards]
    return [f"duplicate uid {uid}" for uid in sorted({uid for uid in uids if uids.count(uid) > 1})]


def _variables(dashboard: Json) -> dict[str, Json]:
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def template_datasource_rule(dashboard: Json) -> Iterator[str]:
    """The data source is a variable of its type."""
    for kind, reference in SOURCES.items():
        variable = _variables(dashboard).get(reference.strip("${}"), {})
        if (variable.get("type"), variable.get("query")) != ("datasource", kind):
            yield f"template-datasource-rule: no data source variable {reference} of type {kind}"


def template_job_rule(dashboard: Json) -> Iterator[str]:
    """The job can be chosen, several at once."""
    job = _variables(dashboard).get("job", {})
    wanted = {"type": "query", "label": "Job", "multi": True, "includeAll": True, "allValue": ".+"}
    yield from (f"template-job-rule: {name} is not {value}" for name, value in wanted.items() if job.get(name) != value)


def template_instance_rule(dashboard: Json) -> Iterator[str]:
    """The run can be chosen."""
    if _variables(dashboard).get("instance", {}).get("type") != "query":
        yield "template-instance-rule: there is no query variable 'instance'"


def template_on_time_change_reload_rule(dashboard: Json) -> Iterator[str]:
    """Choices are those of the time shown."""
    for name, variable in _variables(dashboard).items():
        if variable["type"] == "query" and variable.get("refresh") != 2:
            yield f"template-on-time-change-reload-rule: variable {name} is not read again when the time changes"


def uneditable_dashboard(dashboard: Json) -> Iterator[str]:
    """A provisioned dashboard is not edited in place."""
    if dashboard.get("editable") is not False:
        yield "uneditable-dashboard: it is editable"


def is_refreshed(dashboard: Json) -> Iterator[str]:
    """The time between two refreshes is one that is offered: at any other Grafana refreshes nothing."""
    offered = dashboard.get("timepicker", {}).get("refresh_intervals", ())
    if dashboard.get("refresh") not in offered:
        yield f"refresh: {dashboard.get('refresh')!r} is none of the times that are offered, {list(offered)}"


def panel_rules(dashboard: Json) -> Iterator[str]:
    """Title, description, unit, data source and queries of each panel."""
    for panel in panels_of(dashboard):
        name = panel.get("title") or f"panel {panel.get('id')}"
        if not panel.get("title") or not panel.get("description"):
            yield f"panel-title-description-rule: {name} has no title or no description"
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if panel["type"] not in WITHOUT_UNIT and not unit:
            yield f"panel-units-rule: {name} has no unit"
        if panel["type"] != "text" and not panel.get("targets"):
            yield f"panel-no-targets-rule: {name} has no query"
        yield from _target_problems(panel, name)


def _target_problems(panel: Json, name: str) -> Iterator[str]:
    for target in panel.get("targets", []):
        source = target.get("datasource", {})
        if SOURCES.get(source.get("type", "")) != source.get("uid"):
            yield f"panel-datasource-rule: {name} {target['refId']} does not use the variable of its data source"
        if source.get("type") != "prometheus":
            continue
        expression = target["expr"]
        if "rate(" in expression and "$__rate_interval" not in expression and not target.get("instant"):
            yield f"target-rate-interval-rule: {name} {target['refId']} rates over a fixed time"
        if "otelcol_" not in expression and not ('job=~"$job"' in expression and "instance=~" in expression):
            yield f"target-job-rule, target-instance-rule: {name} {target['refId']} does not select the run"
        if _is_bare_counter(expression) and panel["type"] not in SHOWN_AS_TOTAL | {"timeseries"}:
            yield f"target-counter-agg-rule: {name} {target['refId']} shows a counter as it is"


def _is_bare_counter(expression: str) -> bool:
    aggregated = any(word in expression for word in ("rate(", "increase(", "over_time("))
    return not aggregated and any(f"{suffix}{{" in expression for suffix in COUNTER_SUFFIXES)


def unique_ids(dashboard: Json) -> Iterator[str]:
    """No two panels share an id or a title."""
    for what in ("id", "title"):
        found = [panel[what] for panel in everything_on(dashboard)]
        yield from (f"unique-{what}: {value!r} occurs twice" for value in set(found) if found.count(value) > 1)


def no_overlap(dashboard: Json) -> Iterator[str]:
    """No panel lies on another, none leaves the grid."""
    for panel in everything_on(dashboard):
        if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24:
            yield f"no-overlap: {panel['title']} leaves the grid"
    shown_together = [dashboard["panels"], *(row.get("panels", []) for row in dashboard["panels"])]
    for one, other in (pair for panels in shown_together for pair in combinations(panels, 2)):
        if _overlap(one["gridPos"], other["gridPos"]):
            yield f"no-overlap: {one['title']} lies on {other['title']}"


def _overlap(one: Json, other: Json) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)


def no_value_said(dashboard: Json) -> Iterator[str]:
    """A panel without data explains why."""
    for panel in panels_of(dashboard):
        if panel["type"] != "text" and not panel.get("fieldConfig", {}).get("defaults", {}).get("noValue"):
            yield f"no-value: {panel['title']} has no text for missing data"


SINGLE_NUMBERS: Final = {"stat", "bargauge", "barchart", "gauge", "table"}
UNMEASURED: Final = "No data: "
"""How the text of an empty panel begins: it names possible causes and asserts none."""


def gaps_are_gaps(dashboard: Json) -> Iterator[str]:
    """No line or lane is drawn over a time without samples."""
    for panel in panels_of(dashboard):
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        spanned = [custom.get("spanNulls"), *_overridden(panel, "custom.spanNulls")]
        if any(one is True or (one or 0) > GAP_MS for one in spanned):
            yield f"gaps: {panel['title']} draws lines over gaps"


def bars_are_comparable(dashboard: Json) -> Iterator[str]:
    """Bars that begin at the left are of counts and begin at 0; two arms are not stacked on each other."""
    for panel in panels_of(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        if panel["type"] in {"bargauge", "gauge"} and (defaults.get("min"), defaults.get("unit")) != (0, "none"):
            yield f"bars: {panel['title']} draws what is no count as bars from its least value on"
        stacked = defaults.get("custom", {}).get("stacking", {}).get("mode", "none") != "none"
        if stacked and {"mode": "none"} not in _overridden(panel, "custom.stacking"):
            yield f"bars: {panel['title']} stacks arms on each other"


def rows_are_in_order(dashboard: Json) -> Iterator[str]:
    """A table of events or spans is sorted, and one of spans is that of the newest."""
    for panel in panels_of(dashboard):
        sources = {one["datasource"]["type"] for one in panel.get("targets", ())} - {"prometheus"}
        sorts = [one for one in panel.get("transformations", ()) if one["id"] == "sortBy"]
        if panel["type"] == "table" and sources and not (sorts or panel["options"].get("sortBy")):
            yield f"order: {panel['title']} shows rows in the order in which they arrive"
        for target in panel.get("targets", ()):
            if target["datasource"]["type"] == "tempo" and "most_recent=true" not in target["query"]:
                yield f"order: {panel['title']} shows whichever spans are found first"


def a_number_is_asked_once(dashboard: Json) -> Iterator[str]:
    """A single number does not depend on the time shown; a chart is asked at every step."""
    for panel in panels_of(dashboard):
        for target in asked_of_prometheus(panel):
            where, text = f"{panel['title']} {target['refId']}", target["expr"]
            if panel["type"] in SINGLE_NUMBERS and not target.get("instant"):
                yield f"single-number: {where} shows the last step of a range"
            if "$__range" in text or (target.get("instant") and "$__" in text):
                yield f"single-number: {where} depends on the time shown"
            if "vector(0)" in text:
                yield f"single-number: {where} makes a 0 of nothing"


def exemplars_of_histograms(dashboard: Json) -> Iterator[str]:
    """Only histograms have exemplars; Grafana asks for those of whatever it is told to."""
    for panel in panels_of(dashboard):
        for target in asked_of_prometheus(panel):
            if target.get("exemplar") and "_bucket{" not in target["expr"]:
                yield f"exemplars: {panel['title']} {target['refId']} asks for those of no histogram"


def missing_is_grey(dashboard: Json) -> Iterator[str]:
    """A number that is not there has no colour of health."""
    for panel in panels_of(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        maps = [one for one in defaults.get("mappings", ()) if one["type"] == "special"]
        of_nothing = [one["options"]["result"] for one in maps if one["options"]["match"] == "null+nan"]
        if (
            panel["type"] in SINGLE_NUMBERS
            and asked_of_prometheus(panel)
            and [result["color"] for result in of_nothing] != [GREY]
        ):
            yield f"missing: {panel['title']} has no grey for a number that is not there"
        if not defaults.get("noValue", UNMEASURED).startswith(UNMEASURED):
            yield f"missing: {panel['title']} asserts something of data that it does not have"


def _overridden(panel: Json, name: str) -> list[Any]:
    properties = [one for override in panel["fieldConfig"]["overrides"] for one in override["properties"]]
    return [one["value"] for one in properties if one["id"] == name]


RULES: Final[tuple[Callable[[Json], Iterator[str]], ...]] = (
    template_datasource_rule,
    template_job_rule,
    template_instance_rule,
    template_on_time_change_reload_rule,
    uneditable_dashboard,
    is_refreshed,
    panel_rules,
    unique_ids,
    no_overlap,
    no_value_said,
    gaps_are_gaps,
    bars_are_comparable,
    rows_are_in_order,
    a_number_is_asked_once,
    exemplars_of_histograms,
    missing_is_grey,
    *LOOKS,
)
