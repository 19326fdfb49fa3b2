"""One function for each kind of panel over Prometheus.

All take the panel's key, title, its healthy state, and expressions or ``(legend, expression)`` pairs. Unit and
limits come from the registry; name ``limits`` a signal whose limits are drawn where a panel shows several.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from grafana_foundation_sdk.builders import barchart, bargauge, common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models

from esper_otel.alerts.promql import GROUP, RUN
from esper_otel.events.declare import Threshold
from grafana.panels.axes import LEAST, LEAST_COUNT, drawn_limits, least_top, signals_of, unit_of_all
from grafana.panels.drill_down import to_rounds_and_events
from grafana.panels.limits import SIGN, limits_of
from grafana.panels.panel import (
    GREEN,
    GREY,
    NOT_MEASURED,
    PLAIN,
    Panel,
    Query,
    asked_together,
    empty_text,
    legend,
    mapping,
    missing,
    setting,
    steps,
    target,
    without_default_arm,
)
from grafana.queries.facts import words_of
from grafana.queries.promql import Prom
from grafana.queries.truth import GAP_MS

Shown = Prom | tuple[str, Prom]
BAR: Final = "blue"
"""Colour of a bar without limits, which is neither good nor bad."""

OF_AN_ARM: Final = "^.* · .*$"
"""Names of lines of an arm, where a run has several."""

TITLE_PIXELS, COUNT_PIXELS = 12, 30
"""Names and whole numbers in a strip; left alone, names shrink with the widest and are cut where a number is large."""

BAR_PIXELS: Final = 12
"""Names and numbers of bars; left alone, they grow until long names are cut."""

SELDOM: Final = Threshold(warning_above=0.5, reason="Good runs have one now and then.")
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
    log_above: float | None = None,
    between: tuple[float, float] | None = None,
    empty: str | None = None,
    second: dict[str, str] | None = None,
    beside: bool = False,
) -> Panel:
    """Lines over time.

    Args:
        key: see :class:`Panel`, as ``title``, ``good``, ``width``, ``height`` and ``empty``.
        limits: signal whose limits are drawn, or limits; empty for those of the only signal; None for none.
        stacked: whether the lines are stacked areas.
        log_above: value above which the axis is logarithmic, and below which it is linear; None for a linear axis.
            A purely logarithmic axis draws nothing at all where a value is 0, as the KL divergence of a stuck policy.
        between: ends of the axis, where single values would flatten the rest.
        beside: whether the legend is at the right, for more lines than one below has room for.
        second: unit by legend of the lines that have an axis of their own on the right.
    """
    queries = tuple(ranged(item) for item in what)
    unit = unit or unit_of_all(queries)
    drawn = drawn_limits(limits, queries)
    builder = timeseries.Panel().unit(unit).line_width(1).fill_opacity(60 if stacked else 5)
    builder.show_points(shown.VisibilityMode.AUTO).point_size(4).span_nulls(GAP_MS)
    builder.tooltip(common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING))
    builder.legend(legend_below().placement(shown.LegendPlacement.RIGHT) if beside else legend_below())
    if stacked:
        builder.stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL).group("A"))
        # Two arms are never added up: what has an arm in its name is a line of its own.
        arms = [setting("custom.stacking", {"mode": "none"}), setting("custom.fillOpacity", 5)]
        builder.override_by_regexp(OF_AN_ARM, arms)
    if log_above is not None:
        scale = common.ScaleDistributionConfig().type(shown.ScaleDistribution.SYMLOG).log(10)
        builder.scale_distribution(scale.linear_threshold(log_above))
    if between is not None:
        builder.min(between[0]).max(between[1])
    elif log_above is None and (top := least_top(unit, signals_of(queries))) is not None:
        builder.axis_soft_min(0).axis_soft_max(top)
    if drawn is not None:
        dashed = common.GraphThresholdsStyleConfig().mode(shown.GraphThresholdsStyleMode.DASHED)
        builder.thresholds(steps(drawn)).thresholds_style(dashed)
    for name, own_unit in (second or {}).items():
        axis = [setting("unit", own_unit), setting("custom.axisPlacement", "right")]
        axis += [setting("custom.axisSoftMin", 0), setting("custom.axisSoftMax", LEAST.get(own_unit, LEAST_COUNT))]
        builder.override_by_regexp(f"^{name}( · .*)?$", axis)
    builder.override_by_regexp(".*", [setting("links", to_rounds_and_events())])
    finish(builder, queries, empty)
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
    each: dict[str, Threshold] | None = None,
    zero_is_grey: tuple[str, ...] = (),
    missing_word: str = NOT_MEASURED,
) -> Panel:
    """Single numbers, coloured by their limits; of a run that is over, the last values.

    ``each``: limits of single numbers. ``zero_is_grey``: numbers of which 0 is neither good nor bad. ``missing_word``:
    word for a number that is not there.
    """
    queries = tuple(_single(item) for item in what)
    unit = unit or unit_of_all(queries)
    drawn = drawn_limits(limits, queries)
    builder = stat.Panel().unit(unit).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    builder.graph_mode(shown.BigValueGraphMode.AREA if graph else shown.BigValueGraphMode.NONE)
    builder.color_mode(shown.BigValueColorMode.VALUE)
    builder.thresholds(steps(drawn, base=GREEN if drawn is not None else PLAIN)).mappings([missing(missing_word)])
    builder.text_mode(shown.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else shown.BigValueTextMode.AUTO)
    if horizontal:
        builder.orientation(shown.VizOrientation.VERTICAL).justify_mode(shown.BigValueJustifyMode.CENTER)
        text = common.VizTextDisplayOptions().title_size(TITLE_PIXELS)
        builder.text(text.value_size(COUNT_PIXELS) if unit == "none" else text)
    if decimals is not None:
        builder.decimals(decimals)
    _colour_each(builder, queries, limits)
    for name, own in (each or {}).items():
        builder.override_by_regexp(f"^{name}( · .*)?$", [setting("thresholds", steps(own).build())])
    for name in zero_is_grey:
        zero = [missing(), mapping({0: ("0", GREY)})]
        builder.override_by_regexp(f"^{name}( · .*)?$", [setting("mappings", zero)])
    finish(builder, queries, empty)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder,
        width=width, height=height, empty=empty, unit=unit,
    )  # fmt: skip


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
    signed: bool = False,
) -> Panel:
    """Bars side by side from 0: the newest value of each series.

    ``signed``: values below 0 are as likely as those above; they are drawn as columns to both sides of a line at 0.
    """
    if signed:
        return _columns_panel(key, title, good, *what, width=width, height=height, unit=unit, empty=empty)
    queries = tuple(_single(item) for item in what)
    unit = unit or unit_of_all(queries)
    builder = bargauge.Panel().unit(unit).reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    builder.min(0).orientation(shown.VizOrientation.HORIZONTAL).display_mode(shown.BarGaugeDisplayMode.BASIC)
    builder.min_viz_height(10)  # two dozen bars fit where Grafana's own smallest height shows ten
    builder.max_viz_height(2 * BAR_PIXELS).sizing(shown.BarGaugeSizing.MANUAL)
    builder.text(common.VizTextDisplayOptions().title_size(BAR_PIXELS).value_size(BAR_PIXELS))
    builder.name_placement(shown.BarGaugeNamePlacement.LEFT)
    drawn = drawn_limits(limits, queries)
    builder.thresholds(steps(drawn, base=GREEN if drawn is not None else BAR)).mappings([missing()])
    _colour_each(builder, queries, limits)
    finish(builder, queries, empty)
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder,
        width=width, height=height, empty=empty, unit=unit,
    )  # fmt: skip


def _columns_panel(
    key: str, title: str, good: str, *what: Shown, width: int, height: int, unit: str, empty: str | None
) -> Panel:
    """Columns above and below a line at 0, each on the same scale, coloured by their side."""
    queries = tuple(_single(item) for item in what)
    unit = unit or unit_of_all(queries)
    builder = (
        barchart.Panel().unit(unit).orientation(shown.VizOrientation.HORIZONTAL).show_value(shown.VisibilityMode.ALWAYS)
    )
    builder.text(common.VizTextDisplayOptions().value_size(BAR_PIXELS - 2))
    builder.axis_centered_zero(True).legend(legend_below().show_legend(False)).thresholds(steps(SIGN)).mappings(
        [missing()]
    )
    builder.color_scheme(sdk.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    finish(builder, queries, empty)
    # One row for each series: its name and its value.
    builder.with_transformation(
        models.DataTransformerConfig(id_val="reduce", options={"reducers": ["lastNotNull"], "labelsToFields": False})
    )
    ranked = {"sort": [{"field": "Last *", "desc": True}]}
    builder.with_transformation(models.DataTransformerConfig(id_val="sortBy", options=ranked))
    return Panel(
        key=key, title=title, good=good, queries=queries, builder=builder,
        width=width, height=height, empty=empty, unit=unit,
    )  # fmt: skip


def quantiles_panel(key: str, title: str, good: str, *expressions: Shown, **options: Any) -> Panel:
    """Quantiles of a histogram on a logarithmic axis. They are estimates: for the middle, ask for the mean."""
    estimated = f"{good} A quantile is an estimate within its bucket, whose end is about three times its beginning."
    return timeseries_panel(key, title, estimated, *expressions, log_above=1e-6, **options)


def ranged(item: Shown) -> Query:
    """A query at every step, with a legend of its labels or its name."""
    if isinstance(item, tuple):
        return Query(what=item[1], legend=legend(item[0], item[1]))
    dimensions = [label for label in item.labels if label not in {GROUP, *RUN}]
    named = " ".join(f"{{{{{label}}}}}" for label in dimensions) or words_of(item.signals[0])
    return Query(what=item, legend=legend(named, item))


def _single(item: Shown) -> Query:
    return msgspec.structs.replace(ranged(item), instant=True)


def _colour_each(builder: Any, queries: tuple[Query, ...], limits: str | Threshold | None) -> None:
    """Overrides that give each value its own limits, if a panel shows several signals."""
    if limits != "" or len(queries) == 1:
        return
    for query in queries:
        if not isinstance(query.what, Prom):
            continue
        found = limits_of(query.what.signals[0]) if len(query.what.signals) == 1 else None
        if found is not None:
            name = query.legend.split(" · ")[0]
            builder.override_by_regexp(f"^{name}( · .*)?$", [setting("thresholds", steps(found).build())])


def legend_below() -> Any:
    """A legend under the panel."""
    options = common.VizLegendOptions().show_legend(True).placement(shown.LegendPlacement.BOTTOM)
    return options.display_mode(shown.LegendDisplayMode.LIST)


def ask(builder: Any, queries: tuple[Query, ...]) -> None:
    """Add queries."""
    for position, query in enumerate(queries):
        builder.with_target(target(query, chr(ord("A") + position)))


def finish(builder: Any, queries: tuple[Query, ...], empty: str | None) -> None:
    """Add queries, transformations and the text of an empty panel."""
    ask(builder, asked_together(queries))
    if any(isinstance(query.what, Prom) and GROUP in query.what.labels for query in queries):
        builder.with_transformation(without_default_arm())
    builder.no_value(empty_text(empty, queries))
