"""One function for each kind of panel over Prometheus.

All take the panel's key, title, what good looks like, and expressions or ``(legend, expression)`` pairs. Unit and
limits come from the registry; name ``limits`` a signal whose limits are drawn where a panel shows several.
"""

from __future__ import annotations

from typing import Any, Final

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, statetimeline, text, timeseries
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.text import TextMode

from esper_otel.events.declare import Threshold
from grafana.drill_down import to_rounds_and_events
from grafana.facts import limits_of, words_of
from grafana.panel import GREEN, NO_DATA, Panel, Query, legend, setting, steps, target, without_default_arm
from grafana.promql import ARM, Prom

Shown = Prom | tuple[str, Prom]
COLOURS: Final = {
    "running": "green",
    "finished": "blue",
    "interrupted": "yellow",
    "stalled": "orange",
    "failed": "red",
    "died": "dark-red",
}
"""Colour of a run's state."""

TITLE_PIXELS: Final = 12
"""Names in a strip of numbers; left alone, they shrink with the widest."""

ANY_IS_BAD: Final = Threshold(critical_above=0.5, reason="One is too many.")
"""Limit of what should never happen; between 0 and 1, because Grafana colours what reaches a limit."""


def timeseries_panel(
    key: str,
    title: str,
    good: str,
    *what: Shown,
    width: int = 8,
    height: int = 8,
    limits: str | Threshold | None = "",
    unit: str = "",
    stacked: bool = False,
    log: bool = False,
    between: tuple[float, float] | None = None,
    empty: str | None = None,
    second: dict[str, str] | None = None,
) -> Panel:
    """Lines over time.

    Args:
        key: see :class:`Panel`, as ``title``, ``good``, ``width``, ``height`` and ``empty``.
        limits: signal whose limits are drawn, or limits; empty for those of the only signal; None for none.
        stacked: whether the lines are stacked areas.
        log: whether the axis is logarithmic.
        between: ends of the axis, where single values would flatten the rest.
        second: unit by legend of the lines that have an axis of their own on the right.
    """
    queries = tuple(_ranged(item) for item in what)
    unit = unit or _unit(queries)
    drawn = _limits(limits, queries)
    builder = timeseries.Panel().unit(unit).line_width(1).fill_opacity(60 if stacked else 5)
    builder.show_points(shown.VisibilityMode.AUTO).point_size(4).span_nulls(True)
    builder.tooltip(common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING))
    builder.legend(_legend())
    if stacked:
        builder.stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL).group("A"))
    if log:
        builder.scale_distribution(common.ScaleDistributionConfig().type(shown.ScaleDistribution.LOG).log(10))
    if between is not None:
        builder.min(between[0]).max(between[1])
    if drawn is not None:
        dashed = common.GraphThresholdsStyleConfig().mode(shown.GraphThresholdsStyleMode.DASHED)
        builder.thresholds(steps(drawn)).thresholds_style(dashed)
    for name, own_unit in (second or {}).items():
        axis = [setting("unit", own_unit), setting("custom.axisPlacement", "right")]
        builder.override_by_regexp(f"^{name}( · .*)?$", axis)
    builder.override_by_regexp(".*", [setting("links", to_rounds_and_events())])
    _finish(builder, queries, empty)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder,
        width=width, height=height, empty=empty, unit=unit,
    )  # fmt: skip


def stat_panel(
    key: str,
    title: str,
    good: str,
    *what: Shown,
    width: int = 4,
    height: int = 4,
    limits: str | Threshold | None = "",
    unit: str = "",
    decimals: int | None = None,
    empty: str | None = None,
    graph: bool = False,
    horizontal: bool = False,
) -> Panel:
    """Single numbers, coloured by their limits; of a run that is over, the last ones."""
    queries = tuple(_ranged(item) for item in what)
    unit = unit or _unit(queries)
    drawn = _limits(limits, queries)
    builder = stat.Panel().unit(unit).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    builder.graph_mode(shown.BigValueGraphMode.AREA if graph else shown.BigValueGraphMode.NONE)
    builder.color_mode(shown.BigValueColorMode.VALUE)
    builder.thresholds(steps(drawn, base=GREEN if drawn is not None else "text"))
    builder.text_mode(shown.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else shown.BigValueTextMode.AUTO)
    if horizontal:
        builder.orientation(shown.VizOrientation.VERTICAL).justify_mode(shown.BigValueJustifyMode.CENTER)
        builder.text(common.VizTextDisplayOptions().title_size(TITLE_PIXELS))
    if decimals is not None:
        builder.decimals(decimals)
    _colour_each(builder, queries, limits)
    _finish(builder, queries, empty)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder,
        width=width, height=height, empty=empty, unit=unit,
    )  # fmt: skip


def name_panel(key: str, title: str, good: str, what: Prom, label: str, *, width: int = 4, height: int = 4) -> Panel:
    """The value of ``label`` of the series that is there, as a word: the state of a run."""
    queries = (Query(what=what, legend=f"{{{{{label}}}}}", instant=True),)
    builder = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).unit("string")
    builder.text_mode(shown.BigValueTextMode.NAME).color_mode(shown.BigValueColorMode.BACKGROUND)
    builder.graph_mode(shown.BigValueGraphMode.NONE)
    for name, colour in COLOURS.items():
        builder.override_by_name(name, [setting("color", {"mode": "fixed", "fixedColor": colour})])
    builder.no_value(NO_DATA).with_target(target(queries[0], "A"))
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, unit="string"
    )


def bar_gauge_panel(
    key: str,
    title: str,
    good: str,
    *what: Shown,
    width: int = 8,
    height: int = 8,
    limits: str | Threshold | None = "",
    unit: str = "",
    empty: str | None = None,
) -> Panel:
    """Bars side by side: the newest value of each series."""
    queries = tuple(_ranged(item) for item in what)
    unit = unit or _unit(queries)
    builder = bargauge.Panel().unit(unit).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    builder.orientation(shown.VizOrientation.HORIZONTAL).display_mode(shown.BarGaugeDisplayMode.BASIC)
    builder.min_viz_height(10)  # two dozen bars fit where Grafana's own smallest height shows ten
    builder.thresholds(steps(_limits(limits, queries)))
    _colour_each(builder, queries, limits)
    _finish(builder, queries, empty)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder,
        width=width, height=height, empty=empty, unit=unit,
    )  # fmt: skip


def quantiles_panel(key: str, title: str, good: str, *expressions: Shown, **options: Any) -> Panel:
    """Quantiles of a histogram on a logarithmic axis."""
    return timeseries_panel(key, title, good, *expressions, log=True, **options)


def heat_map_panel(
    key: str, title: str, good: str, what: Prom, *, width: int = 8, height: int = 8, empty: str | None = None
) -> Panel:
    """A histogram over time."""
    queries = (Query(what=what, heat=True),)
    colours = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(32)
    builder = heatmap.Panel().calculate(False).color(colours).unit(what.unit)
    builder.y_axis(heatmap.YAxisConfig().unit(what.unit)).cell_gap(1)
    builder.with_target(target(queries[0], "A"))
    builder.no_value(empty or NO_DATA)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder,
        width=width, height=height, empty=empty, unit=what.unit,
    )  # fmt: skip


def state_timeline_panel(
    key: str,
    title: str,
    good: str,
    *what: Shown,
    states: dict[int, tuple[str, str]],
    colours: dict[str, str] | None = None,
    lanes: int | None = None,
    width: int = 12,
    height: int = 8,
    empty: str | None = None,
) -> Panel:
    """A lane for each series.

    Args:
        key: see :class:`Panel`.
        states: word and colour of each value.
        colours: colour by lane, in place of that of the values.
        lanes: how many a page has; None for all on one.
    """
    queries = tuple(_ranged(item) for item in what)
    builder = statetimeline.Panel().unit("short").mappings([_mapping(states)])
    for lane, colour in (colours or {}).items():
        own = _mapping({value: (word, colour) for value, (word, _) in states.items()})
        builder.override_by_name(lane, [setting("mappings", [own.to_json()])])
    builder.merge_values(True).show_value(
        shown.VisibilityMode.NEVER if colours else shown.VisibilityMode.AUTO
    ).row_height(0.8).line_width(0)
    builder = builder.disable_pagination() if lanes is None else builder.per_page(lanes)
    # By thresholds the panel would show limits in place of the words.
    builder.color_scheme(sdk.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
    builder.legend(_legend().show_legend(False))
    _finish(builder, queries, empty)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder, width=width, height=height, empty=empty
    )


def _mapping(states: dict[int, tuple[str, str]]) -> models.ValueMap:
    words = enumerate(states.items())
    return models.ValueMap(
        options={
            str(value): models.ValueMappingResult(text=word, color=colour, index=position)
            for position, (value, (word, colour)) in words
        }
    )


def text_panel(key: str, title: str, markdown: str, *, width: int = 24, height: int = 3) -> Panel:
    """Words."""
    builder = text.Panel().mode(TextMode.MARKDOWN).content(markdown)
    return Panel(key=key, title=title, good=markdown, queries=(), builder=builder, width=width, height=height)


def _ranged(item: Shown) -> Query:
    if isinstance(item, tuple):
        return Query(what=item[1], legend=legend(item[0], item[1]))
    dimensions = [label for label in item.labels if label not in {ARM, "job", "instance"}]
    named = " ".join(f"{{{{{label}}}}}" for label in dimensions) or words_of(item.signals[0])
    return Query(what=item, legend=legend(named, item))


def _unit(queries: tuple[Query, ...]) -> str:
    units = {query.what.unit for query in queries if isinstance(query.what, Prom)}
    if units == {"percentunit", "short"}:  # shares among plain numbers read as 0 to 1
        return "short"
    if len(units) != 1:
        raise ValueError(f"name the unit: the queries have {', '.join(sorted(units))}")
    return units.pop()


def _limits(wanted: str | Threshold | None, queries: tuple[Query, ...]) -> Threshold | None:
    if isinstance(wanted, Threshold) or wanted is None:
        return wanted
    signals = {name for query in queries if isinstance(query.what, Prom) for name in query.what.signals}
    if wanted:
        found = limits_of(wanted)
        if found is None:
            raise KeyError(f"signal {wanted!r} has no limits")
        return found
    return limits_of(signals.pop()) if len(signals) == 1 else None


def _colour_each(builder: Any, queries: tuple[Query, ...], limits: str | Threshold | None) -> None:
    """Where a panel shows several signals, each value gets the limits of its own."""
    if limits != "" or len(queries) == 1:
        return
    for query in queries:
        if not isinstance(query.what, Prom):
            continue
        found = limits_of(query.what.signals[0]) if len(query.what.signals) == 1 else None
        if found is not None:
            name = query.legend.split(" · ")[0]
            builder.override_by_regexp(f"^{name}( · .*)?$", [setting("thresholds", steps(found).build())])


def _legend() -> Any:
    options = common.VizLegendOptions().show_legend(True).placement(shown.LegendPlacement.BOTTOM)
    return options.display_mode(shown.LegendDisplayMode.LIST)


def _finish(builder: Any, queries: tuple[Query, ...], empty: str | None) -> None:
    for position, query in enumerate(queries):
        builder.with_target(target(query, chr(ord("A") + position)))
    if any(isinstance(query.what, Prom) and ARM in query.what.labels for query in queries):
        builder.with_transformation(without_default_arm())
    builder.no_value(empty or NO_DATA)
