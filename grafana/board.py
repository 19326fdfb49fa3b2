"""A dashboard: rows of panels with a question above each, laid out on Grafana's grid of 24 columns."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.prometheus.alert import Alert
from grafana.annotations import annotation_queries
from grafana.facts import alerts_on, asked_by
from grafana.panel import Panel, describe, panel_id
from grafana.promql import Prom
from grafana.variables import event_log_variables, variables

SCHEMA: Final = 42
COLUMNS: Final = 24
TAG: Final = "esper"
REFRESH: Final = "15s"


class Row(msgspec.Struct, frozen=True):
    """Panels under a question."""

    question: str
    panels: tuple[Panel, ...]


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard.

    Attributes:
        domain: whose it is; its uid is ``esper-<domain>``, which alerts of the domain link to.
        title: name.
        description: what it answers.
        rows: its panels.
        has_event_log: whether it has the variables of the event log.
    """

    domain: str
    title: str
    description: str
    rows: tuple[Row, ...]
    has_event_log: bool = False

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
        """Alerts that link to this dashboard and ask for what the panel shows."""
        asked = (query.what.text for query in panel.queries if isinstance(query.what, Prom))
        return alerts_on(frozenset().union(panel.signals, *map(asked_by, asked)), self.domain)


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
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables([*variables(_queries(board)), *(event_log_variables() if board.has_event_log else [])])
        .annotations(annotation_queries())
        .links([_others()])
    )
    top = 0
    for row in board.rows:
        built.with_row(_row(board, row, top))
        top += 1
        top = _place(built, board, row, top, runbook_url)
    found: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    found["schemaVersion"] = SCHEMA
    for link in found["links"]:
        # The SDK's only placement is a menu that has to be opened first.
        del link["placement"]
    return found


def _queries(board: Board) -> str:
    return "\n".join(query.what.text for panel in board.panels for query in panel.queries)


def _row(board: Board, row: Row, top: int) -> Any:
    place = models.GridPos(x=0, y=top, w=COLUMNS, h=1)
    return sdk.Row(row.question).id(panel_id(board.uid, f"row {row.question}")).grid_pos(place)


def _place(built: Any, board: Board, row: Row, top: int, runbook_url: str) -> int:
    """Puts the panels of a row from left to right, line by line; the next free line."""
    left, line_height = 0, 0
    for panel in row.panels:
        if left + panel.width > COLUMNS:
            left, top, line_height = 0, top + line_height, 0
        place = models.GridPos(x=left, y=top, w=panel.width, h=panel.height)
        alerts = tuple(alert.name for alert in board.alerts(panel))
        finished = panel.builder.title(panel.title).description(describe(panel, alerts, runbook_url))
        built.with_panel(finished.id(panel_id(board.uid, panel.key)).grid_pos(place))
        left, line_height = left + panel.width, max(line_height, panel.height)
    return top + line_height


def _others() -> Any:
    """Links to the other dashboards, which keep time, run and environment."""
    link = sdk.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).include_vars(True).keep_time(True).target_blank(False)
