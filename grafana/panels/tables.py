"""Tables, logs and traces: panels that show rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import common, logs, table
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models

from esper_otel.events.declare import Threshold
from grafana.panels.drill_down import to_trace
from grafana.panels.limits import limits_of
from grafana.panels.panel import Panel, Query, empty_text, mapping, missing, setting, steps, target, words_for
from grafana.panels.widths import EVENT_COLUMNS, LABEL_COLUMNS, NARROW, SPAN_COLUMNS, least_width
from grafana.queries.facts import words_of
from grafana.queries.logql import Log
from grafana.queries.promql import LINE, Prom, joined
from grafana.queries.traceql import Trace

SAME_IN_EVERY_ROW: Final = (
    *("traceIdHidden", "traceService", "traceName", "name"),
    *("service.name", "service.instance.id", "esper.round.anomalous"),
)
"""Columns of Tempo's spans that are not shown; the link of a row needs the first."""

EVENT_ID: Final = "esper_event_id"
OF_EVERY_ANSWER: Final = frozenset({"Time", "Line"})
"""Columns that Loki's answer has also without any row."""

LAST: Final = " (lastNotNull)"
"""End of a column's name after it was aggregated."""

FIT: Final = [setting("noValue", "–"), setting("custom.wrapHeaderText", True)]
"""Settings of every column: a long name takes two lines."""

_OPENS: Final = words_for(".+", "open")
"""Text of a cell whose value is an identifier of 32 digits; its link has the value."""

Column = Prom | tuple[str, Prom]
Words = Mapping[int, tuple[str, str]] | Mapping[str, tuple[str, str]]
"""Word and colour of each value of a column."""


def table_panel(
    key: str,
    title: str,
    good: str,
    *columns: Column,
    names: dict[str, str] | None = None,
    width: int = 24,
    height: int = 8,
    sort: str | tuple[str, ...] = "",
    descending: bool = True,
    empty: str | None = None,
    links: dict[str, str] | None = None,
    limits: dict[str, Threshold] | None = None,
    units: dict[str, str] | None = None,
    words: Mapping[str, Words] | None = None,
    hidden: tuple[str, ...] = (),
    decimals: int = 2,
    exact: tuple[str, ...] = (),
) -> Panel:
    """A row for each set of labels, a column for each expression; limits colour the cells.

    Args:
        key: see :class:`Panel`.
        columns: instant expressions over the same labels, or ``(name, expression)``; ``_`` names one that is not shown.
        names: what label columns are called.
        sort: column to sort by, or several, the first one first.
        links: address by column.
        limits: limits by column, where no signal's own are right.
        units: unit by column, where the registry cannot know it.
        words: word and colour of each value, by column.
        hidden: columns that are there for links only.
        decimals: those of numbers that are no counts.
        exact: columns of values of many sizes, whose decimals Grafana chooses.
    """
    queries = tuple(_column(item) for item in columns)
    sorted_by = sort if isinstance(sort, tuple) else (sort,) if sort else ()
    builder = table.Panel().cell_height(shown.TableCellHeight.SM).min_width(NARROW).unit("short")
    lines = tuple((query.legend, query.what) for query in queries if isinstance(query.what, Prom))
    builder.with_target(target(Query(what=joined(lines), instant=True), "A"))
    for column, what in lines:
        own_unit = (units or {}).get(column, what.unit)
        builder.override_by_name(
            column, _cell(what, own_unit, (limits or {}).get(column), None if column in exact else decimals)
        )
    _dress(builder, words or {}, hidden, links or {})
    builder.with_transformation(models.DataTransformerConfig(id_val="labelsToFields", options={"valueLabel": LINE}))
    builder.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    labels = tuple(dict.fromkeys(label for _, what in lines for label in what.labels))
    called = {"group_id": "group", "env_id": "environment", **(names or {})}
    for label in labels:  # Grafana takes a word of digits for a number
        builder.override_by_name(called.get(label, label), [setting("unit", "string")])
    order = dict.fromkeys((*lines[0][1].labels, *(column for column, _ in lines), *labels))
    organise = {
        "excludeByName": {"Time": True} | {column: True for column, _ in lines if not column.strip("_")},
        "indexByName": {name: index for index, name in enumerate(order)},
        "renameByName": called,
    }
    builder.with_transformation(models.DataTransformerConfig(id_val="organize", options=organise))
    builder.override_by_regexp(".*", FIT)
    builder.mappings([missing("–")])
    named = {column: (units or {}).get(column, what.unit) for column, what in lines if column.strip("_")}
    for name, unit in {**dict.fromkeys((called.get(one, one) for one in labels), "string"), **named}.items():
        if (pixels := least_width(name, unit, is_sorted=name in sorted_by)) > NARROW:
            builder.override_by_name(name, [setting("custom.minWidth", pixels)])
    builder.sort_by([common.TableSortByFieldState().display_name(name).desc(descending) for name in sorted_by])
    builder.no_value(empty_text(empty, queries))
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )


def _dress(builder: table.Panel, words: Mapping[str, Words], hidden: tuple[str, ...], links: dict[str, str]) -> None:
    """Give columns their words, widths and links, and hide some."""
    for column, named in words.items():
        cell = [setting("mappings", [mapping(named).to_json()]), setting("custom.cellOptions", {"type": "color-text"})]
        builder.override_by_name(column, cell)
    for column in hidden:
        builder.override_by_name(column, [setting("custom.hidden", True), setting("custom.hideFrom", {"viz": True})])
    for column, pixels in LABEL_COLUMNS.items():
        builder.override_by_name(column, [setting("custom.width", pixels)])
    for column, address in links.items():
        builder.override_by_name(column, [setting("links", [{"title": "Open", "url": address}])])


def _cell(what: Prom, unit: str, limits: Threshold | None, decimals: int | None) -> list[models.DynamicConfigValue]:
    """Unit, decimals and colours of a column."""
    properties = [
        setting("unit", unit),
        *([] if unit.startswith("dateTime") else [setting("decimals", 0 if unit == "none" else decimals)]),
    ]
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
    return Query(what=what, instant=True, legend=name)


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
    parts: tuple[str, str] | None = None,
) -> Panel:
    """Log events as rows; ``columns`` gives the column's name by label, in order.

    Args:
        key: see :class:`Panel`.
        columns: column's name by label.
        since: time shown, in place of the dashboard's.
        parts: a label, and an expression whose named groups are columns too.

    Raises:
        KeyError: a label is none that the relay sends.
    """
    queries = (Query(what=what),)
    builder = (
        table.Panel()
        .cell_height(shown.TableCellHeight.SM)
        .min_width(NARROW)
        .unit("short")
        .with_target(target(queries[0], "A"))
    )
    extract = {"source": "labels", "format": "json", "replace": False, "keepTime": False}
    builder.with_transformation(models.DataTransformerConfig(id_val="extractFields", options=extract))
    if parts is not None:
        inner = {"source": parts[0], "format": "regexp", "regExp": parts[1], "replace": False, "keepTime": False}
        builder.with_transformation(models.DataTransformerConfig(id_val="extractFields", options=inner))
    # Grouped by what only rows have: of no rows nothing is left, and the panel shows its words in place of a header.
    names = {"Time": "Time", **columns}
    grouped = {label: {"operation": "groupby", "aggregations": []} for label in (EVENT_ID, *names)}
    grouped |= {
        name: {"operation": "aggregate", "aggregations": ["lastNotNull"]} for name in OF_EVERY_ANSWER & names.keys()
    }
    builder.with_transformation(models.DataTransformerConfig(id_val="groupBy", options={"fields": grouped}))
    shown_columns = {label + LAST if label in OF_EVERY_ANSWER else label: name for label, name in names.items()}
    organise = {
        "includeByName": dict.fromkeys(shown_columns, True),
        "indexByName": {label: index for index, label in enumerate(shown_columns)},
        "renameByName": shown_columns,
    }
    builder.with_transformation(models.DataTransformerConfig(id_val="organize", options=organise))
    # Loki cuts a busy stream into several, and Grafana shows one after the other.
    newest = {"sort": [{"field": "Time", "desc": True}]}
    builder.with_transformation(models.DataTransformerConfig(id_val="sortBy", options=newest))
    if "trace_id" in columns:
        cell = [setting("links", to_trace()), setting("mappings", [_OPENS]), setting("custom.width", 80)]
        builder.override_by_name(columns["trace_id"], cell)
    for label in sorted(columns.keys() & EVENT_COLUMNS.keys()):
        builder.override_by_name(columns[label], [setting("custom.width", EVENT_COLUMNS[label])])
    for label in (name for name in columns if name.endswith("_rng_seed")):
        builder.override_by_name(columns[label], [setting("unit", "string")])
    builder.override_by_regexp(".*", FIT)
    builder.override_by_name("Time", [setting("custom.width", 190), setting("unit", "dateTimeAsIso")])
    if since:
        builder.time_from(since)
    builder.no_value(empty_text(empty, queries))
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
    builder.no_value(empty_text(empty, queries))
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )


def traces_panel(
    key: str, title: str, good: str, what: Trace, *, width: int = 24, height: int = 9, empty: str | None = None
) -> Panel:
    """Spans as rows; a click opens the trace."""
    queries = (Query(what=what),)
    builder = (
        table.Panel()
        .cell_height(shown.TableCellHeight.SM)
        .min_width(NARROW)
        .unit("short")
        .with_target(target(queries[0], "A"))
    )
    for column in SAME_IN_EVERY_ROW:
        builder.override_by_name(column, [setting("custom.hideFrom", {"viz": True}), setting("custom.hidden", True)])
    builder.sort_by([common.TableSortByFieldState().display_name(SPAN_COLUMNS["time"][0]).desc(True)])
    for column, (name, pixels) in SPAN_COLUMNS.items():
        builder.override_by_name(column, [setting("displayName", name), setting("custom.width", pixels)])
    builder.override_by_regexp(".*", FIT)
    builder.no_value(empty_text(empty, queries))
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )
