"""The addresses that alerts, runbook and dashboards link to, and the panel that shows each alert."""

from __future__ import annotations

from functools import cache
from typing import Final

from grafana.boards import BOARDS
from grafana.layout.board import AlertPanels, panels_by_alert

GRAFANA_URL: Final = "http://localhost:3000"
"""Address at which ``make up`` serves Grafana; a deployment builds the rules with its own address."""

RUNBOOK_URL: Final = "docs/reference/runbook.md"
"""The page in this repository; a deployment builds the rules with the address that it is published under."""


@cache
def alert_panels() -> AlertPanels:
    """The panel of every alert whose dashboard exists and shows it."""
    return panels_by_alert(BOARDS)
