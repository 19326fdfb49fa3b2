"""Training loop: the updates of any PyTorch program, whatever it trains."""

from __future__ import annotations

from typing import Final

import msgspec

from grafana.boards.infrastructure import PROCESS
from grafana.boards.tolaria_rows.durations import WAITING
from grafana.boards.tolaria_rows.updates import UPDATES
from grafana.layout.board import Board, Row
from grafana.panels.kinds import quantiles_panel, stat_panel, timeseries_panel
from grafana.panels.states import ended_panel, state_panel
from grafana.queries.promql import age, mean, quantile

_ALIVE = Row(
    "Is the loop alive?",
    (
        state_panel("state", "State", "running, or finished when it is over.", width=3, height=4),
        stat_panel(
            "last_update",
            "Last update",
            "Seconds while the loop trains.",
            ("age", age("tolaria.last_update.timestamp")),
            empty="no update was made yet",
        ),
        ended_panel(height=4),
        *(msgspec.structs.replace(panel, width=7) for panel in UPDATES.panels[:2]),
    ),
)

_TIME = Row(
    "Where does the time go?",
    (
        *WAITING,
        timeseries_panel(
            "passes",
            "Time of an update's parts, mean",
            "Forward and backward take most of it.",
            ("{{phase}}", mean("tolaria.step_phase.duration", "phase")),
            stacked=True,
            width=12,
            empty="the loop names no phases, or made no update yet",
        ),
    ),
)

_LAYERS = Row(
    "Are its layers and its process in order?",
    (
        quantiles_panel(
            "layers",
            "Gradient norm by layer",
            "Flat, within a factor of ten.",
            ("mean", mean("tolaria.gradient.norm")),
            ("p99", quantile(0.99, "tolaria.gradient.norm")),
            width=12,
            empty="no sensor looks at the layers",
        ),
        PROCESS,
    ),
)

LOOP: Final = Board(
    domain="loop",
    title="Training loop",
    description="Any PyTorch program: is it alive, does its loss fall, are its updates sound, where does the time go.",
    rows=(
        _ALIVE,
        Row(
            "Does it learn, and are its updates sound?", (*UPDATES.panels[3:5], UPDATES.panels[2], *UPDATES.panels[5:])
        ),
        _TIME,
        _LAYERS,
    ),
)
