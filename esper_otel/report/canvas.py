"""Drawing of a chart with Plotly: rows of axes above one another with a common x axis.

Colours of lines, axes and text belong to the page, which knows whether it is light or dark: a line has a number
(``meta.series``) that the page has a colour for. Only what has a meaning (a limit, a stage) has its own colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go  # type: ignore[import-untyped]  # Plotly ships no types
from plotly.subplots import make_subplots  # type: ignore[import-untyped]  # as above

from esper_otel.events.declare import Severity
from esper_otel.report.chart import NOT_FINITE, VIOLATION, Axis, Chart, Mark, Series, cut, escaped
from esper_otel.report.limits import THRESHOLDS, limits_of
from esper_otel.report.sampling import drawn, is_finite

FEW: Final = 80
"""Points up to which each is a dot as well: a line through one point would be nothing."""

ROW_HEIGHT_PX: Final = 170
FRAME_HEIGHT_PX: Final = 130


_DASH: Final = {Severity.CRITICAL: "dash", Severity.WARNING: "dot"}


class Canvas:
    """Draws one chart."""

    def __init__(self, axes: Sequence[Axis], x_title: str, *, is_time: bool = False) -> None:
        """Axes from top to bottom."""
        self._axes = axes
        self._named: set[str] = set()
        self._colors: dict[str, int] = {}
        self._figure = make_subplots(rows=len(axes), cols=1, shared_xaxes=True, vertical_spacing=0.14 / len(axes))
        for row, axis in enumerate(axes, start=1):
            scale = {"type": "log", "dtick": 1} if axis.is_log else {"type": "linear"}
            if axis.from_zero:
                scale["rangemode"] = "tozero"
            self._figure.update_yaxes(title_text=axis.title, row=row, col=1, **scale)
        self._figure.update_xaxes(type="date" if is_time else "linear")
        self._figure.update_xaxes(title_text=x_title, row=len(axes), col=1)
        self._figure.update_layout(
            margin={"l": 64, "r": 16, "t": 16, "b": 48},
            hovermode="closest",
            legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
            uirevision="kept",
        )

    def line(self, row: int, name: str, series: Series, *, dash: str = "solid") -> None:
        """Draw a line with gaps where nothing was measured, and marks where a value is not finite."""
        self._not_finite(row, series)
        self._line(row, name, series, drawn(series.values), {"line": {"dash": dash, "width": 1.8}})

    def band(self, row: int, name: str, low: Series, high: Series) -> None:
        """Fill the room between two series in the colour of the line ``name``, which is drawn before."""
        for edge, fill in ((low, None), (high, "tonexty")):
            trace = go.Scatter(x=list(edge.x), y=list(edge.values), mode="lines", line={"width": 0}, fill=fill)
            trace.update(hoverinfo="skip", meta={"series": self._colors[name]})
            self._add(row, name, trace)

    def area(self, row: int, name: str, series: Series, indexes: Sequence[int]) -> None:
        """Stack an area on those drawn in this row before; all with the same ``indexes``."""
        self._line(row, name, series, indexes, {"stackgroup": f"row {row}", "line": {"width": 1}})

    def marks(self, row: int, mark: Mark, points: Series) -> None:
        """Put a mark on every point."""
        if not points.x:
            return
        at = drawn(points.values)
        self._add(
            row,
            mark.name,
            go.Scatter(
                x=[points.x[i] for i in at],
                y=[points.values[i] for i in at],
                text=[escaped(points.texts[i]) for i in at],
                hovertemplate="%{text}<br>%{fullData.name}: %{y}<extra></extra>",
                **_looks(mark),
            ),
        )

    def marks_at(self, row: int, mark: Mark, points: Series, lanes: Sequence[str]) -> None:
        """Put a mark on every point of an axis of lanes, which are names that went through :func:`escaped`."""
        if points.x:
            trace = go.Scatter(x=points.x, y=lanes, text=[escaped(text) for text in points.texts])
            self._add(row, mark.name, trace.update(**_looks(mark), hovertemplate="%{text}<extra></extra>"))

    def bars(self, row: int, name: str, trace: Any) -> None:
        """Add bars that the caller made, with texts that went through :func:`escaped`."""
        self._add(row, name, trace)

    def thresholds(self, row: int, field: str, series: Series, *, is_marked: bool = True) -> None:
        """Draw the limits of ``field``, and mark values beyond them if ``is_marked``."""
        if not series.x:
            return
        span = [series.x[0] - 0.5, series.x[-1] + 0.5]  # an update alone has a limit as well
        for limit in limits_of(field):
            style = {"dash": _DASH[limit.severity], "color": VIOLATION[limit.severity].color, "width": 1.2}
            trace = go.Scatter(x=span, y=[limit.value] * 2, mode="lines", line=style, hoverinfo="skip")
            self._add(row, f"{limit.severity.value} limit", trace)
        for severity, mark in VIOLATION.items() if is_marked else ():
            self.marks(row, mark, _chosen(series, violating(field, series.values, severity)))

    def layout(self, **changes: Any) -> None:
        """Change the figure's layout."""
        self._figure.update_layout(**changes)

    def room_for_texts(self, values: Sequence[float]) -> None:
        """Leave room at the ends of horizontal bars for the texts outside them."""
        low, high = min(0.0, *values), max(0.0, *values)
        margin = (high - low) * 0.12
        self.x_axes(range=[low - margin if low < 0 else 0.0, high + margin])

    def x_axes(self, **changes: Any) -> None:
        """Change every x axis."""
        self._figure.update_xaxes(**changes)

    def lanes(self, row: int, names: Sequence[str]) -> None:
        """Make a y axis one of lanes, from top to bottom; names that are very long are cut at the axis."""
        shown = [escaped(name) for name in names]
        ticks = [escaped(cut(name)) for name in names]
        order = {"categoryorder": "array", "categoryarray": shown[::-1]}
        self._figure.update_yaxes(
            row=row, col=1, type="category", tickvals=shown, ticktext=ticks, automargin=True, **order
        )

    def chart(self, title: str, about: str, notes: Sequence[str] = (), height_px: int | None = None) -> Chart:
        """The chart as JSON for the page."""
        height = height_px or FRAME_HEIGHT_PX + ROW_HEIGHT_PX * len(self._axes)
        self._figure.update_layout(height=height)
        return Chart(title, about, tuple(notes), self._figure, height)

    def _line(self, row: int, name: str, series: Series, indexes: Sequence[int], style: dict[str, Any]) -> None:
        mode = "lines+markers" if len(indexes) <= FEW else "lines"
        values = [series.values[i] if is_finite(series.values[i]) else None for i in indexes]
        trace = go.Scatter(
            x=[series.x[i] for i in indexes],
            y=values,
            text=[escaped(series.texts[i]) for i in indexes],
            mode=mode,
            connectgaps=False,
            hovertemplate="%{text}<br>%{fullData.name}: %{y}<extra></extra>",
            meta={"series": self._colors.setdefault(name, len(self._colors))},
            **style,
        )
        self._add(row, name, trace)

    def _not_finite(self, row: int, series: Series) -> None:
        bad = [i for i, value in enumerate(series.values) if value is not None and not is_finite(value)]
        if not bad:
            return
        height = max((v for v in series.values if v is not None and is_finite(v)), default=1.0)
        texts = [f"{series.texts[i]}: {series.values[i]}" for i in bad]
        self.marks(row, NOT_FINITE, Series([series.x[i] for i in bad], [height] * len(bad), texts))

    def _add(self, row: int, name: str, trace: Any) -> None:
        """One entry of the legend for everything of one name, which switches all of it."""
        group = escaped(cut(name))
        trace.update(name=group, legendgroup=group, showlegend=group not in self._named)
        self._named.add(group)
        self._figure.add_trace(trace, row=row, col=1)


def violating(field: str, values: Sequence[float | None], severity: Severity) -> list[int]:
    """Indexes of the finite ``values`` of ``field`` that violate its threshold, if it has one, with ``severity``."""
    threshold = THRESHOLDS.get(field)
    if threshold is None:
        return []
    return [
        i
        for i, value in enumerate(values)
        if value is not None and is_finite(value) and threshold.severity_of(value) is severity
    ]


def _looks(mark: Mark) -> dict[str, Any]:
    edge = {"width": 1, "color": mark.edge} if mark.edge else {"width": 2, "color": mark.color}
    return {
        "mode": "markers",
        "marker": {"symbol": mark.symbol, "color": mark.color, "size": 10, "line": edge},
    }


def _chosen(series: Series, indexes: Sequence[int]) -> Series:
    return Series(
        [series.x[i] for i in indexes], [series.values[i] for i in indexes], [series.texts[i] for i in indexes]
    )
