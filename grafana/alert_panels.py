"""Which panel shows what an alert is about."""

from __future__ import annotations

from deploy.prometheus.alert import Alert
from deploy.prometheus.alerts import ALERTS
from grafana.board import Board
from grafana.boards import BOARDS
from grafana.facts import asked_by
from grafana.panel import panel_id


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
