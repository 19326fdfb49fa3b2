"""The addresses that alerts, runbook and dashboards link to, and the panel that shows each alert."""

from __future__ import annotations

from functools import cache
from typing import Final

from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from grafana.boards import BOARDS
from grafana.layout.board import Board
from grafana.panels.panel import panel_id
from grafana.queries.facts import asked_by

GRAFANA_URL: Final = "http://localhost:3000"
"""Address at which ``make up`` serves Grafana; a deployment builds the rules with its own address."""

RUNBOOK_URL: Final = "docs/reference/runbook.md"
"""The page in this repository; a deployment builds the rules with the address that it is published under."""


@cache
def alert_panels() -> dict[str, tuple[str, int]]:
    """Uid and panel id by the name of every alert whose dashboard exists and shows it."""
    boards = {board.domain: board for board in BOARDS}
    found = {}
    for alert in ALERTS:
        key = _panel_of(alert, boards[alert.domain]) if alert.domain in boards else None
        if key is not None:
            uid = boards[alert.domain].uid
            found[alert.name] = (uid, panel_id(uid, key))
    return found


def _panel_of(alert: Alert, board: Board) -> str | None:
    """Key of the panel that shows most of what the alert asks for, and the least beside it."""
    shown = [panel for panel in board.panels if alert in board.alerts(panel)]
    asked = asked_by(alert.expr)
    best = max(shown, key=lambda panel: (len(asked & panel.signals), -len(panel.signals)), default=None)
    return None if best is None else best.key
