"""All dashboards, in the order of their links."""

from __future__ import annotations

from typing import Final

from grafana.boards.infrastructure import INFRASTRUCTURE
from grafana.boards.kasmina import KASMINA
from grafana.boards.overview import OVERVIEW
from grafana.boards.runs import RUNS
from grafana.boards.simic import SIMIC
from grafana.boards.tamiyo import TAMIYO
from grafana.boards.telemetry import TELEMETRY
from grafana.boards.tolaria import TOLARIA
from grafana.layout.board import Board

BOARDS: Final[tuple[Board, ...]] = (OVERVIEW, RUNS, TAMIYO, TOLARIA, KASMINA, SIMIC, INFRASTRUCTURE, TELEMETRY)

HOME: Final = OVERVIEW
"""Grafana's home dashboard."""


def board_of(domain: str) -> Board:
    """The dashboard of a domain.

    Raises:
        KeyError: there is none.
    """
    for board in BOARDS:
        if board.domain == domain:
            return board
    raise KeyError(f"there is no dashboard of {domain!r}")
