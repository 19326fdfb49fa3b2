"""The whole fault campaign, and the table that it makes.

    python -m tests.faults.campaign [--jobs 4] [--ledger FILE] [--only EXPRESSION] [--both-roads] [--table]

Runs every fault test with the whole number of runs and writes the results into ``docs/evidence/faults.md``.
``--ledger`` keeps the figures, so that a campaign can be run in parts: a later part adds to them. ``--table`` only
writes the table. ``--both-roads`` runs the faults of the log alone, with events recorded in C and then in Python, and
writes the table that compares them.
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
from tests.tools import ROAD, ROOT

PAGE = ROOT / "docs" / "evidence" / "faults.md"
HEAD = "| fault | runs | what held | lost | time to recover |\n|---|---|---|---|---|\n"
ROADS_HEAD = (
    "| fault of the log | in C: runs | lost | time to recover | in Python: runs | lost | time to recover |\n"
    "|---|---|---|---|---|---|---|\n"
)
OF_THE_LOG = (
    "disk_faults or odd_values or clocks_and_signals or test_processes or power_loss or killed_at_any_moment "
    "or killed_before"
)
"""Faults that events meet between the call and the last write, as pytest's -k."""


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
    for entry in entries(ledger):
        rows.setdefault(entry.fault, Row(entry.holds)).add(entry)
    lines = [f"| {' | '.join([name, *row.cells()])} |\n" for name, row in sorted(rows.items())]
    return f"{made(list(rows.values()))}\n{HEAD}{''.join(lines)}"


def table_of_both_roads(ledger: Path) -> str:
    """Effects of the faults of the log on events recorded in C and on those recorded in Python."""
    rows: dict[str, tuple[Row, Row]] = {}
    for entry in entries(ledger):
        rows.setdefault(entry.fault, (Row(entry.holds), Row(entry.holds)))[entry.recording != "native"].add(entry)
    lines = [
        f"| {' | '.join([name, *(cell for row in pair for cell in [row.cells()[at] for at in (0, 2, 3)])])} |\n"
        for name, pair in sorted(rows.items())
    ]
    head = made([row for pair in rows.values() for row in pair])
    failed = sorted({test for pair in rows.values() for row in pair for test in row.failed})
    tail = f"\n**FAILED**: {', '.join(failed)}\n" if failed else ""
    return f"{head}\n{ROADS_HEAD}{''.join(lines)}{tail}"


def entries(ledger: Path) -> list[Entry]:
    """Findings of the tests."""
    return [msgspec.json.decode(line, type=Entry) for line in ledger.read_bytes().splitlines()]


def made(rows: list[Row]) -> str:
    """When and where it was made, and how it ended."""
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {os.getloadavg()[2]:.0f}, Linux "
        f"{platform.release()}, Python {platform.python_version()}: {sum(row.runs for row in rows):,} runs, "
        f"{len(rows)} rows, {sum(bool(row.failed) for row in rows)} of them with a failed test.\n"
    )


def run(only: str, jobs: int, ledger: Path, recording: str | None = None) -> int:
    """Run the campaign's tests of that name, with ESPER_OTEL_NATIVE if given; pytest's exit status."""
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable,
            "-m",
            "pytest",
            str(Path(__file__).parent),
            "-q",
            "-n",
            str(jobs),
            "--timeout",
            "900",
        ]
        command += ["--basetemp", str(Path(directory) / "runs"), "-o", "tmp_path_retention_policy=none"]
        command += ["-m", "fault", "-k", only]
        env = os.environ | {"ESPER_FAULTS": "whole", LEDGER_VARIABLE: str(ledger)}
        if recording is not None:
            env[ROAD] = recording
        return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def main() -> int:
    """Run it; pytest's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--only", help="as pytest's -k")
    parser.add_argument("--both-roads", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ledger = (options.ledger or Path(directory) / "ledger.jsonl").absolute()
        status = 0
        if options.both_roads:
            only = options.only or OF_THE_LOG
            if not options.table:
                status = max(run(only, options.jobs, ledger, recording) for recording in ("1", "0"))
            put(PAGE, "table of both roads", table_of_both_roads(ledger))
        else:
            if not options.table:
                status = run(options.only or "", options.jobs, ledger)
            put(PAGE, "fault table", table(ledger))
    return status


if __name__ == "__main__":
    sys.exit(main())
