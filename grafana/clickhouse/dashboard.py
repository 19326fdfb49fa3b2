"""The dashboard: what the best of each run depends on, and the runs over one another."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from grafana_foundation_sdk.builders import common, xychart
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import xychart as xymodels

from grafana.built import Json
from grafana.clickhouse.queries import BEST_REWARD, NEWEST, PARAMETER, PARAMETERS, POINT, REWARD_BY_ROUND
from grafana.layout.board import COLUMNS, INTERVALS, NEVER, SCHEMA, TAG, VERSION
from grafana.layout.variables import one_of
from grafana.panels.panel import panel_id, setting

UID: Final = "esper-many-runs"
PLUGIN: Final = "grafana-clickhouse-datasource"
SOURCE: Final = "clickhouse"
"""Variable of the data source."""

EMPTY: Final = "no run began in the time shown, or the data source's database has none of the views."


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Points of a query by two of its columns.

    Attributes:
        title: text above it.
        good: description of the healthy state.
        sql: the query.
        show: points, or lines as well.
        apart: columns each of whose values is a series of its own, with the value as its name.
        x: column of the horizontal axis.
        x_name: its name for people.
        y: column of the vertical axis.
    """

    title: str
    good: str
    sql: str
    show: xymodels.XYShowMode
    apart: tuple[str, ...]
    x: str
    x_name: str
    y: str


CHARTS: Final = (
    Chart(
        title="Best reward of each run, by configuration",
        good="the points of the values that you would choose lie high, close together. A point is a run, or an arm of "
        "one; its colour is the reward mode, and only rewards of one mode can be compared.",
        sql=BEST_REWARD,
        show=xymodels.XYShowMode.POINTS,
        apart=("reward mode",),
        x="parameter",
        x_name=f"${{{PARAMETER}:text}}",
        y="best reward",
    ),
    Chart(
        title="Reward by round, runs over one another",
        good="rises. A line is a run, or an arm of one; shown are the newest runs of the time that is chosen.",
        sql=REWARD_BY_ROUND,
        show=xymodels.XYShowMode.POINTS_AND_LINES,
        apart=("run", "arm"),
        x="round",
        x_name="round",
        y="reward",
    ),
)


def dashboard() -> Json:
    """The dashboard as Grafana's JSON."""
    built = (
        sdk.Dashboard("Esper: many runs (ClickHouse)")
        .uid(UID)
        .description("Is a result one run's luck, and what does it depend on? Runs of an archive, or those that go on.")
        .tags([TAG])
        .readonly()
        .time("now-90d", "now")
        .refresh(NEVER)
        .timepicker(sdk.TimePicker().refresh_intervals(list(INTERVALS)))
        .timezone("browser")
        .variables(_variables())
    )
    width = COLUMNS // len(CHARTS)
    for position, chart in enumerate(CHARTS):
        built.with_panel(_panel(chart).grid_pos(models.GridPos(x=position * width, y=0, w=width, h=16)))
    found: Json = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    found["schemaVersion"] = SCHEMA
    for panel, chart in zip(found["panels"], CHARTS, strict=True):
        panel["pluginVersion"] = VERSION
        panel["targets"] = [_target(chart.sql)]  # the SDK knows no queries of this plugin
    return found


def _panel(chart: Chart) -> Any:
    legend = common.VizLegendOptions().show_legend(True).placement(shown.LegendPlacement.BOTTOM)
    split = {"fields": list(chart.apart), "keepFields": False, "naming": {"asLabels": True}}
    name = " · ".join(f'${{__field.labels["{column}"]}}' for column in chart.apart)
    return (
        xychart.Panel()
        .id(panel_id(UID, chart.title))
        .title(chart.title)
        .description(f"**Good:** {chart.good}\n\n**Empty:** {EMPTY}")
        .datasource(models.DataSourceRef(type_val=PLUGIN, uid=f"${{{SOURCE}}}"))
        .unit("short")
        .show(chart.show)
        .line_width(1)
        .mapping(xymodels.SeriesMapping.AUTO)
        .series([])
        .legend(legend.display_mode(shown.LegendDisplayMode.LIST))
        .with_transformation(models.DataTransformerConfig(id_val="partitionByValues", options=split))
        .override_by_name(chart.y, [setting("displayName", name)])
        .override_by_name(chart.x, [setting("displayName", chart.x_name)])
    )


def _target(sql: str) -> Json:
    return {
        "refId": "A",
        "datasource": {"type": PLUGIN, "uid": f"${{{SOURCE}}}"},
        "editorType": "sql",
        "queryType": "table",
        "format": 1,
        "rawSql": sql,
    }


def _variables() -> list[Any]:
    return [
        sdk.DatasourceVariable(SOURCE).label("Runs").type(PLUGIN).include_all(False).multi(False),
        one_of(PARAMETER, "Configured by", {name: column for column, name in PARAMETERS.items()}),
        one_of(NEWEST, "Newest runs", {number: number for number in ("20", "5", "10", "50")}),
        one_of(POINT, "Rounds a point", {number: number for number in ("1", "10", "100")}),
    ]
