"""Results of the campaign over real programs, in a file for the page if one is named."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

LEDGER_VARIABLE = "ESPER_FRAMEWORKS_LEDGER"


class Shown(msgspec.Struct, frozen=True):
    """Panels of a dashboard that show data, and those that do not although the run has their metrics."""

    board: str
    panels: int
    all_panels: int
    silent: list[str]


class Row(msgspec.Struct, frozen=True, tag="program"):
    """One program, without us and recorded."""

    name: str
    program: str
    ranks: int
    seconds: float
    lines_changed: int
    made: int
    seen: int
    with_norm: int
    difference: float
    weights_equal: bool
    boards: list[Shown]
    charts: list[str]
    all_charts: int
    exceptions: int
    faults: list[str]
    outcome: str

    def wrong(self) -> list[str]:
        """Expectations that the row fails."""
        silent = [f"{board.board}: {panel}" for board in self.boards for panel in board.silent]
        checks = {
            f"{self.lines_changed} lines changed": self.lines_changed == 0,
            f"{self.seen} of {self.made} updates seen": self.seen == self.made > 0,
            f"{self.with_norm} of {self.made} norms": self.with_norm == self.made,
            f"norms differ by {self.difference:.1e}": self.difference <= MOST_DIFFERENCE,
            "weights differ": self.weights_equal,
            f"empty panels: {', '.join(silent)}": not silent,
            "no chart of the updates": UPDATES_CHART in self.charts,
            f"{self.exceptions} exceptions": self.exceptions == 0,
            f"faults of sensors: {', '.join(self.faults)}": not self.faults,
            f"outcome {self.outcome}": self.outcome == "finished",
        }
        return [text for text, holds in checks.items() if not holds]


class Exploded(msgspec.Struct, frozen=True, tag="explosions"):
    """Runs of one program with one exploding update each, and healthy ones."""

    name: str
    runs: int
    fired: int
    healthy: int
    healthy_fired: int
    seconds: float
    between_scrapes: int


MOST_DIFFERENCE = 1e-6
UPDATES_CHART = "Updates of the model"

Entry = Row | Exploded


def keep(entry: Entry) -> None:
    """Append to the ledger, when there is one."""
    path = os.environ.get(LEDGER_VARIABLE)
    if path:
        with Path(path).open("ab") as ledger:
            ledger.write(msgspec.json.encode(entry) + b"\n")


def entries(path: Path) -> list[Entry]:
    """All of a ledger; of two of the same name the later."""
    found = [msgspec.json.decode(line, type=Entry) for line in path.read_bytes().splitlines()]
    return list({(type(entry), entry.name): entry for entry in found}.values())
