"""Charts over the rounds of several runs: a line for each run, and the spread over runs of one configuration."""

from __future__ import annotations

from typing import Any, Final

from grafana_foundation_sdk.builders import common, trend, xychart
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import xychart as xymodels

from esper_otel.alerts.promql import GROUP
from grafana.panels.kinds import ask, legend_below
from grafana.panels.panel import Panel, Query, empty_text, setting
from grafana.queries.promql import Prom
from grafana.queries.truth import GAP_MS

CONFIGURATION: Final = "configuration"
"""Label of what several runs have in common."""

ROUND: Final = "Value #A"
"""Grafana's own name of the rounds; it makes their shown name that of one configuration."""


def by_round_panel(key: str, title: str, good: str, rounds: Prom, what: Prom, *, unit: str) -> Panel:
    """A line for each run and arm over its rounds: the values of the same moment make a point."""
    queries = (Query(what=rounds, over="round"), Query(what=what, over="value"))
    builder = xychart.Panel().unit(unit).legend(legend_below())
    _over_rounds(builder, queries, ("partitionByValues", _one_frame_for_each("instance", GROUP)))
    builder.mapping(xymodels.SeriesMapping.AUTO).series([]).show(xymodels.XYShowMode.POINTS_AND_LINES).line_width(1)
    builder.override_by_regexp(
        "/^value/", [setting("displayName", "${__field.labels.instance} · ${__field.labels.group_id}")]
    )
    builder.no_value(empty_text(None, queries))
    return Panel(key=key, title=title, good=good, queries=queries, builder=builder, width=12, height=9, unit=unit)


def spread_panel(key: str, title: str, good: str, rounds: Prom, what: Prom, *, unit: str, empty: str) -> Panel:
    """The mean of the runs of each configuration over their rounds, between the least and the largest of them."""
    queries = (Query(what=rounds, over="round"), Query(what=what, over="value"))
    together: dict[str, Any] = {name: {"operation": "groupby", "aggregations": []} for name in (CONFIGURATION, "round")}
    together["value"] = {"operation": "aggregate", "aggregations": ["mean", "min", "max"]}
    # What the runs of a configuration have in one round is not always there in another's: lines go on to the next.
    builder = trend.Panel().x_field(ROUND).line_width(2).show_points(shown.VisibilityMode.NEVER).span_nulls(GAP_MS)
    builder.unit(unit).legend(legend_below())
    builder.tooltip(common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING))
    _over_rounds(
        builder,
        queries,
        ("groupBy", {"fields": together}),
        ("sortBy", {"sort": [{"field": "round"}]}),
        ("partitionByValues", _one_frame_for_each(CONFIGURATION)),
        ("joinByField", {"byField": ROUND, "mode": "outer"}),
    )
    # The three lines of a configuration have one name, and so one colour; Grafana fills no space between such.
    builder.color_scheme(sdk.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    named = setting("displayName", f"${{__field.labels.{CONFIGURATION}}}")
    ends = [
        setting("custom.lineWidth", 1),
        setting("custom.lineStyle", {"fill": "dash", "dash": [4, 6]}),
        setting("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False}),
    ]
    builder.override_by_regexp("/^value .mean/", [named])
    builder.override_by_regexp("/^value .m(in|ax)/", [named, *ends])
    builder.no_value(empty_text(empty, queries))
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=12, height=9, unit=unit, empty=empty
    )


def _one_frame_for_each(*labels: str) -> dict[str, Any]:
    return {"fields": list(labels), "keepFields": False, "naming": {"asLabels": True}}


def _over_rounds(builder: Any, queries: tuple[Query, ...], *then: tuple[str, dict[str, Any]]) -> None:
    """Make rows with a round and a value of the answers, and what ``then`` makes of them."""
    ask(builder, queries)
    named = {ROUND: "round", "Value #B": "value"}
    organise = {"excludeByName": {"Time": True, "job": True}, "renameByName": named}
    for name, options in (("merge", {}), ("organize", organise), *then):
        builder.with_transformation(models.DataTransformerConfig(id_val=name, options=options))
    builder.override_by_regexp("/^round/", [setting("displayName", "round"), setting("unit", "none")])
