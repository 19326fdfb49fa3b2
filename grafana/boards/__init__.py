"""All dashboards, in the order of their links."""

from __future__ import annotations

from typing import Final

from grafana.boards.infrastructure import INFRASTRUCTURE
from grafana.boards.kasmina import KASMINA
from grafana.boards.loop import LOOP
from grafana.boards.overview import overview
from grafana.boards.runs import RUNS
from grafana.boards.simic import SIMIC
from grafana.boards.tamiyo import TAMIYO
from grafana.boards.telemetry import TELEMETRY
from grafana.boards.tolaria import TOLARIA
from grafana.layout.board import Board, panels_by_alert

_OTHERS: Final[tuple[Board, ...]] = (RUNS, LOOP, TAMIYO, TOLARIA, KASMINA, SIMIC, INFRASTRUCTURE, TELEMETRY)

HOME: Final = overview(panels_by_alert(_OTHERS))
"""Grafana's home dashboard."""

BOARDS: Final[tuple[Board, ...]] = (HOME, *_OTHERS)


def board_of(domain: str) -> Board:
    """The dashboard of a domain.

    Raises:
        KeyError: there is none.
    """
    for board in BOARDS:
        if board.domain == domain:
            return board
    raise KeyError(f"there is no dashboard of {domain!r}")
