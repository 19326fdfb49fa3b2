"""Tables, logs and traces: panels that show rows."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import common, logs, table
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models

from esper_otel.events.declare import Threshold
from grafana.drill_down import to_trace
from grafana.facts import limits_of, words_of
from grafana.logql import Log
from grafana.panel import NO_DATA, Panel, Query, setting, steps, target
from grafana.promql import Prom
from grafana.traceql import Trace

SAME_IN_EVERY_ROW: Final = (
    *("traceIdHidden", "traceService", "traceName", "name"),
    *("service.name", "service.instance.id", "esper.round.anomalous"),
)
"""Columns of Tempo's spans that are not shown; the link of a row needs the first."""

SPAN_COLUMNS: Final = {
    "time": ("start", 190),
    "spanID": ("round's trace", 150),
    "statusMessage": ("what went wrong", 420),
}
"""Name and width in pixels of columns of Tempo's spans."""

Column = Prom | tuple[str, Prom]


def table_panel(
    key: str,
    title: str,
    good: str,
    *columns: Column,
    names: dict[str, str] | None = None,
    width: int = 24,
    height: int = 8,
    sort: str = "",
    descending: bool = True,
    empty: str | None = None,
    links: dict[str, str] | None = None,
    limits: dict[str, Threshold] | None = None,
    units: dict[str, str] | None = None,
) -> Panel:
    """A row for each set of labels, a column for each expression; limits colour the cells.

    Args:
        key: see :class:`Panel`.
        columns: instant expressions over the same labels, or ``(name, expression)``; ``_`` names one that is not shown.
        names: what label columns are called.
        sort: column to sort by.
        links: address by column.
        limits: limits by column, where no signal's own are right.
        units: unit by column, where the registry cannot know it.
    """
    queries = tuple(_column(item) for item in columns)
    builder = table.Panel().cell_height(shown.TableCellHeight.SM).unit("short")
    renamed = {f"Value #{_ref(index)}": query.column for index, query in enumerate(queries)}
    if len(queries) == 1:
        renamed = {"Value": queries[0].column}
    for index, query in enumerate(queries):
        builder.with_target(target(query, _ref(index)))
        assert isinstance(query.what, Prom)
        own_unit = (units or {}).get(query.column, query.what.unit)
        builder.override_by_name(query.column, _cell(query.what, own_unit, (limits or {}).get(query.column)))
    for column, address in (links or {}).items():
        builder.override_by_name(column, [setting("links", [{"title": "Open", "url": address}])])
    if len(queries) > 1:
        builder.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    labels = {"group_id": "group", "env_id": "environment", **(names or {})}
    left_out = {"Time": True} | {value: True for value, name in renamed.items() if not name.strip("_")}
    organise = {"excludeByName": left_out, "renameByName": {**labels, **renamed}}
    builder.with_transformation(models.DataTransformerConfig(id_val="organize", options=organise))
    if sort:
        builder.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
    builder.no_value(empty or NO_DATA)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )


def _cell(what: Prom, unit: str, limits: Threshold | None) -> list[models.DynamicConfigValue]:
    """Unit, decimals and colours of a column."""
    properties = [setting("unit", unit), setting("decimals", 0 if unit == "none" else 2)]
    if limits is None and len(what.signals) == 1:
        limits = limits_of(what.signals[0])
    if limits is not None:
        properties += [
            setting("thresholds", steps(limits).build()),
            setting("custom.cellOptions", {"type": "color-text"}),
        ]
    return properties


def _column(item: Column) -> Query:
    name, what = item if isinstance(item, tuple) else (words_of(item.signals[0]), item)
    return Query(what=what, instant=True, column=name)


def _ref(index: int) -> str:
    return chr(ord("A") + index)


def events_table_panel(
    key: str,
    title: str,
    good: str,
    what: Log,
    columns: dict[str, str],
    *,
    width: int = 24,
    height: int = 9,
    empty: str | None = None,
    since: str = "",
) -> Panel:
    """Log events as rows; ``columns`` gives the column's name by label, in order.

    Raises:
        KeyError: a label is none that the relay sends.
    """
    queries = (Query(what=what),)
    builder = table.Panel().cell_height(shown.TableCellHeight.SM).unit("short").with_target(target(queries[0], "A"))
    extract = {"source": "labels", "format": "json", "replace": False, "keepTime": False}
    builder.with_transformation(models.DataTransformerConfig(id_val="extractFields", options=extract))
    order = {"Time": 0} | {label: index + 1 for index, label in enumerate(columns)}
    organise = {
        "includeByName": dict.fromkeys(("Time", *columns), True),
        "indexByName": order,
        "renameByName": columns,
    }
    builder.with_transformation(models.DataTransformerConfig(id_val="organize", options=organise))
    if "trace_id" in columns:
        builder.override_by_name(columns["trace_id"], [setting("links", to_trace()), setting("custom.width", 120)])
    builder.override_by_regexp(".*", [setting("noValue", "–")])
    builder.override_by_name("Time", [setting("custom.width", 190)])
    if since:
        builder.time_from(since)
    builder.no_value(empty or NO_DATA)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )


def logs_panel(
    key: str, title: str, good: str, what: Log, *, width: int = 24, height: int = 12, empty: str | None = None
) -> Panel:
    """Log events as lines."""
    queries = (Query(what=what),)
    builder = (
        logs.Panel()
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .with_target(target(queries[0], "A"))
    )
    builder.sort_order(shown.LogsSortOrder.DESCENDING).dedup_strategy(shown.LogsDedupStrategy.NONE)
    builder.no_value(empty or NO_DATA)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )


def traces_panel(
    key: str, title: str, good: str, what: Trace, *, width: int = 24, height: int = 9, empty: str | None = None
) -> Panel:
    """Spans as rows; a click opens the trace."""
    queries = (Query(what=what),)
    builder = table.Panel().cell_height(shown.TableCellHeight.SM).unit("short").with_target(target(queries[0], "A"))
    for column in SAME_IN_EVERY_ROW:
        builder.override_by_name(column, [setting("custom.hideFrom", {"viz": True}), setting("custom.hidden", True)])
    for column, (name, pixels) in SPAN_COLUMNS.items():
        builder.override_by_name(column, [setting("displayName", name), setting("custom.width", pixels)])
    builder.no_value(empty or NO_DATA)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )
