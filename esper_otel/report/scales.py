"""Common scales for the same chart of several arms, so that sizes are comparable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from esper_otel.report.chart import Chart

_MARGIN: Final = 0.06
"""Room above and below, as a share of the span."""


def with_same_scales(charts: Sequence[Chart]) -> list[Chart]:
    """The charts of the arms with the same range on every y axis that all of them have.

    Stacked axes begin at 0 anyway and lanes have no scale: they stay, and so do charts with other rows than the rest.
    """
    drawn = [chart.figure for chart in charts if chart.figure is not None]
    if len(drawn) > 1 and len({tuple(axis.title.text for axis in figure.select_yaxes()) for figure in drawn}) == 1:
        for row in range(1, len(list(drawn[0].select_yaxes())) + 1):
            _align(drawn, row)
    return list(charts)


def _align(figures: Sequence[Any], row: int) -> None:
    axis = next(figures[0].select_yaxes(row=row, col=1))
    traces = [trace for figure in figures for trace in figure.select_traces(row=row, col=1)]
    if axis.type == "category" or any(trace.type == "bar" or trace.stackgroup for trace in traces):
        return
    values = [_placed(value, axis.type == "log") for trace in traces for value in _finite(trace.y)]
    placed = [value for value in values if value is not None]
    if placed:
        low, high = min(placed), max(placed)
        low = min(low, 0.0) if axis.rangemode == "tozero" else low
        margin = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
        for figure in figures:
            figure.update_yaxes(range=[low - margin, high + margin], row=row, col=1)


def _finite(values: Sequence[float | None]) -> Iterator[float]:
    return (value for value in values if value is not None and math.isfinite(value))


def _placed(value: float, is_log: bool) -> float | None:
    """Position of a value on an axis: a logarithmic one counts in decades and has no 0."""
    if not is_log:
        return value
    return math.log10(value) if value > 0 else None
