"""A dashboard: rows of panels with a question above each, laid out on Grafana's grid of 24 columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from grafana.built import everything_on
from grafana.layout.annotations import annotation_queries
from grafana.layout.variables import comparison_variables, event_log_variables, runs_variable, variables
from grafana.panels.panel import Panel, describe, panel_id
from grafana.queries.facts import alerts_on, asked_by
from grafana.queries.promql import Prom

SCHEMA: Final = 42
COLUMNS: Final = 24
TAG: Final = "esper"
REFRESH: Final = "15s"
NEVER: Final = "1d"
"""Time between two refreshes of what does not change; Grafana has no word in an address for none."""

INTERVALS: Final = ("5s", REFRESH, "30s", "1m", "5m", "15m", "1h", NEVER)
"""Times between two refreshes that are offered. At any other Grafana refreshes nothing; its own list has no 15 s."""

VERSION: Final = "12.3.0"
"""Grafana whose options these are."""


class Row(msgspec.Struct, frozen=True):
    """Panels under a question; a closed row runs no queries until it is opened."""

    question: str
    panels: tuple[Panel, ...]
    is_open: bool = True


OF_LOGS_AND_TRACES: Final = "What do log events and traces say? (needs Loki and Tempo)"
"""Row of the panels that do not ask Prometheus; closed, so that nothing asks for them where they are not."""


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard.

    Attributes:
        domain: its domain; its uid is ``esper-<domain>``, which alerts of the domain link to.
        title: name.
        description: the questions that it answers.
        rows: its panels.
        has_event_log: whether it has the variables of the event log.
        compares: whether it has a variable for several runs.
    """

    domain: str
    title: str
    description: str
    rows: tuple[Row, ...]
    has_event_log: bool = False
    compares: bool = False

    @property
    def uid(self) -> str:
        """Identity in Grafana."""
        return f"esper-{self.domain}"

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All its panels, in order."""
        return tuple(panel for row in self.rows for panel in row.panels)

    def panel(self, key: str) -> Panel:
        """The panel called ``key``.

        Raises:
            KeyError: there is none.
        """
        for panel in self.panels:
            if panel.key == key:
                return panel
        raise KeyError(f"dashboard {self.uid} has no panel {key!r}")

    def alerts(self, panel: Panel) -> tuple[Alert, ...]:
        """Alerts that link to this dashboard and query the panel's signals."""
        asked = (query.what.text for query in panel.queries if isinstance(query.what, Prom))
        return alerts_on(frozenset().union(panel.signals, *map(asked_by, asked)), self.domain)


AlertPanels = Mapping[str, tuple[str, int]]
"""Uid of the board and id of the panel by the name of an alert."""


def panels_by_alert(boards: Iterable[Board]) -> AlertPanels:
    """The panel that shows each alert, of those whose board is among ``boards``."""
    by_domain = {board.domain: board for board in boards}
    found = {}
    for alert in ALERTS:
        board = by_domain.get(alert.domain)
        key = None if board is None else _panel_of(alert, board)
        if board is not None and key is not None:
            found[alert.name] = (board.uid, panel_id(board.uid, key))
    return found


def _panel_of(alert: Alert, board: Board) -> str | None:
    """Key of the panel that shows most of what the alert asks for, and the least beside it."""
    shown = [panel for panel in board.panels if alert in board.alerts(panel)]
    asked = asked_by(alert.expr)
    best = max(shown, key=lambda panel: (len(asked & panel.signals), -len(panel.signals)), default=None)
    return None if best is None else best.key


def build(board: Board, runbook_url: str) -> dict[str, Any]:
    """The dashboard as Grafana's JSON."""
    built = (
        sdk.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .readonly()
        .time("now-1h", "now")
        .refresh(REFRESH)
        .timepicker(sdk.TimePicker().refresh_intervals(list(INTERVALS)))
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(_variables(board))
        .annotations(annotation_queries())
        .links([_others()])
    )
    top = 0
    for row in _rows(board):
        header = _row(board, row, top)
        top += 1
        if row.is_open:
            built.with_row(header)
            top = _place(built, board, row, top, runbook_url)
        else:
            _place(header.collapsed(True), board, row, top, runbook_url)
            built.with_row(header)
    found: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    found["schemaVersion"] = SCHEMA
    for panel in everything_on(found):
        if panel["type"] == "xychart":
            # Without a version Grafana takes the options for those of an old one.
            panel["pluginVersion"] = VERSION
    for link in found["links"]:
        # The SDK's only placement is a menu that has to be opened first.
        del link["placement"]
    return found


def _rows(board: Board) -> list[Row]:
    """The rows, with all that needs Loki or Tempo in one of its own at the end."""
    apart = tuple(panel for panel in board.panels if not _asks_prometheus(panel))
    kept = [msgspec.structs.replace(row, panels=tuple(filter(_asks_prometheus, row.panels))) for row in board.rows]
    last = [Row(OF_LOGS_AND_TRACES, apart, is_open=False)] if apart else []
    return [*(row for row in kept if row.panels), *last]


def _asks_prometheus(panel: Panel) -> bool:
    return any(isinstance(query.what, Prom) for query in panel.queries)


def _variables(board: Board) -> list[Any]:
    added = [
        *(event_log_variables() if board.has_event_log else []),
        *([runs_variable(), *comparison_variables()] if board.compares else []),
    ]
    return [*variables(_queries(board)), *added]


def _queries(board: Board) -> str:
    return "\n".join(query.what.text for panel in board.panels for query in panel.queries)


def _row(board: Board, row: Row, top: int) -> Any:
    place = models.GridPos(x=0, y=top, w=COLUMNS, h=1)
    return sdk.Row(row.question).id(panel_id(board.uid, f"row {row.question}")).grid_pos(place)


def _place(holder: Any, board: Board, row: Row, top: int, runbook_url: str) -> int:
    """Put the panels of a row into ``holder``, line by line, and return the next free line."""
    for line in _lines(row.panels):
        left, height = 0, max(panel.height for panel in line)
        for panel in line:
            width = COLUMNS - left if panel is line[-1] else panel.width  # no line ends in a hole
            place = models.GridPos(x=left, y=top, w=width, h=height)
            alerts = tuple(alert.name for alert in board.alerts(panel))
            finished = panel.builder.title(panel.title).description(describe(panel, alerts, runbook_url))
            holder.with_panel(finished.id(panel_id(board.uid, panel.key)).grid_pos(place))
            left += width
        top += height
    return top


def _lines(panels: tuple[Panel, ...]) -> list[list[Panel]]:
    """The panels, left to right, as many in a line as fit."""
    lines: list[list[Panel]] = [[]]
    for panel in panels:
        if sum(one.width for one in lines[-1]) + panel.width > COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    return lines


def _others() -> Any:
    """Links to the other dashboards, which keep time, run and environment."""
    link = sdk.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).include_vars(True).keep_time(True).target_blank(False)
