"""The whole fault campaign, and the table that it makes.

    python -m tests.faults.campaign [--jobs 4] [--ledger FILE] [--only EXPRESSION] [--table]

Runs every fault test with the whole number of runs and writes the results into ``docs/evidence/faults.md``.
``--ledger`` keeps the figures, so that a campaign can be run in parts: a later part adds to them. ``--table`` only
writes the table.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.faults.ledger import LEDGER_VARIABLE, Entry
from tests.pages import put
from tests.tools import ROOT

PAGE = ROOT / "docs" / "evidence" / "faults.md"
HEAD = "| fault | runs | what held | lost | time to recover |\n|---|---|---|---|---|\n"


class Row(msgspec.Struct):
    """One fault over all its tests."""

    holds: str
    runs: int = 0
    lost: int = 0
    recovered_s: float | None = None
    notes: list[str] = []
    counted: dict[str, int] = {}
    oldest_lost_ms: float | None = None
    failed: list[str] = []
    skipped: list[str] = []

    def add(self, entry: Entry) -> None:
        """Add what one test found."""
        figures = entry.figures
        if entry.outcome == "failed":
            self.failed.append(entry.test)
        elif entry.outcome == "skipped":
            self.skipped.append(entry.reason)
        self.runs += figures.runs
        self.lost += figures.lost
        if figures.recovered_s is not None:
            self.recovered_s = max(self.recovered_s or 0.0, figures.recovered_s)
        if figures.note:
            self.notes.append(figures.note)
        if figures.oldest_lost_ms is not None:
            self.oldest_lost_ms = max(self.oldest_lost_ms or 0.0, figures.oldest_lost_ms)
        for what, count in figures.counted.items():
            self.counted[what] = self.counted.get(what, 0) + count

    def cells(self) -> list[str]:
        """What stands in the table after the fault's name."""
        if self.failed:
            return [str(self.runs), f"**FAILED**: {', '.join(sorted(set(self.failed)))}", "", ""]
        if self.skipped and not self.runs:
            return ["0", f"not possible here: {self.skipped[0]}", "", ""]
        held = "; ".join([self.holds, *self.notes, *(f"{what}: {count:,}" for what, count in self.counted.items())])
        if self.oldest_lost_ms is not None:
            held += f"; oldest event lost: {self.oldest_lost_ms:.0f} ms"
        recovered = "" if self.recovered_s is None else f"{self.recovered_s:.1f} s"
        return [f"{self.runs:,}", held, f"{self.lost:,}", recovered]


def table(ledger: Path) -> str:
    """The table in Markdown, with a line that says when and where it was made."""
    rows: dict[str, Row] = {}
    for line in ledger.read_bytes().splitlines():
        entry = msgspec.json.decode(line, type=Entry)
        rows.setdefault(entry.fault, Row(entry.holds)).add(entry)
    lines = [f"| {' | '.join([name, *row.cells()])} |\n" for name, row in sorted(rows.items())]
    runs = sum(row.runs for row in rows.values())
    failed = sum(bool(row.failed) for row in rows.values())
    made = (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores, Linux {platform.release()}, Python "
        f"{platform.python_version()}: {runs:,} runs, {len(rows)} faults, {failed} of them with a failed test.\n"
    )
    return f"{made}\n{HEAD}{''.join(lines)}"


def main() -> int:
    """Run it; pytest's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--only", default="", help="as pytest's -k")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ledger = (options.ledger or Path(directory) / "ledger.jsonl").absolute()
        status = 0
        if not options.table:
            command = [sys.executable, "-m", "pytest", str(Path(__file__).parent), "-q", "-n", str(options.jobs)]
            command += [
                "--timeout",
                "900",
                "--basetemp",
                str(Path(directory) / "runs"),
                "-k",
                options.only,
                "-m",
                "fault",
            ]
            command += ["-o", "tmp_path_retention_policy=none"]
            env = os.environ | {"ESPER_FAULTS": "whole", LEDGER_VARIABLE: str(ledger)}
            status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
        put(PAGE, "fault table", table(ledger))
    return status


if __name__ == "__main__":
    sys.exit(main())
