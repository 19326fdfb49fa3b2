"""What a fault test found out: kept for the table when the whole campaign runs, forgotten otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

WHOLE = os.environ.get("ESPER_FAULTS") == "whole"
"""Whether the whole campaign runs, not the quick selection of it."""

LEDGER_VARIABLE = "ESPER_FAULTS_LEDGER"


class Figures(msgspec.Struct):
    """Of one test.

    Attributes:
        runs: runs that met the fault.
        lost: events that are not where they belong, all of them counted by the telemetry itself.
        recovered_s: longest time from the end of the fault until everything was where it belongs, s.
        note: what the figures alone do not say.
        counted: further counts by what they are of; added up over all tests of a fault.
        oldest_lost_ms: greatest age of a lost event when its process was killed, ms.
    """

    runs: int = 0
    lost: int = 0
    recovered_s: float | None = None
    note: str = ""
    counted: dict[str, int] = {}
    oldest_lost_ms: float | None = None

    def add(self, *, runs: int = 1, lost: int = 0, recovered_s: float | None = None) -> None:
        """Count runs; the longest recovery stands."""
        self.runs += runs
        self.lost += lost
        if recovered_s is not None:
            self.recovered_s = max(self.recovered_s or 0.0, recovered_s)


class Entry(msgspec.Struct):
    """One line of the ledger; ``recording`` is the road of events into the log: ``native``, or ``python (why)``."""

    fault: str
    holds: str
    test: str
    outcome: str
    reason: str
    figures: Figures
    recording: str = ""


def fault(name: str, *, holds: str) -> pytest.MarkDecorator:
    """Marks a test as one of the campaign; tests that name the same fault share a row of the table.

    Args:
        name: the fault.
        holds: what the test proves that holds all the same.
    """
    return pytest.mark.fault(name=name, holds=holds)


def keep(entry: Entry) -> None:
    """Append the entry to the campaign's ledger, when there is one."""
    path = os.environ.get(LEDGER_VARIABLE)
    if path:
        with Path(path).open("ab") as ledger:
            ledger.write(msgspec.json.encode(entry) + b"\n")
