"""``make frameworks``: the whole campaign over real programs, and the page that it makes.

    python -m tests.frameworks.evidence [--ledger FILE] [--only EXPRESSION] [--table]

Runs every program and every explosion and writes the results into ``docs/evidence/frameworks.md``. ``--ledger`` keeps
them, so that a campaign can be run in parts: a later part adds to them. ``--table`` only writes the page.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from pathlib import Path

from tests.frameworks import explosions, matrix
from tests.frameworks.campaign import HERE, PACKAGES
from tests.frameworks.ledger import LEDGER_VARIABLE, Exploded, Row, entries
from tests.pages import put
from tests.tools import ROOT, tool

PAGE = ROOT / "docs" / "evidence" / "frameworks.md"
PARTS = sorted(
    str(path) for path in {*HERE.glob("*.py")} - {*HERE.glob("test_*.py")} if "\ndef test_" in path.read_text()
)
"""Tests that pytest does not find by itself."""

NAMED = (
    "torch",
    "stable-baselines3",
    "gymnasium",
    "lightning",
    "transformers",
    "trl",
    "accelerate",
    "tensorboard",
)
"""Packages whose versions the page tells."""

BOARDS = ("Tolaria: host training", "Tamiyo: policy")
NOT_RUN = "not run"
HEAD = (
    "program",
    "ranks",
    "lines changed",
    "updates seen",
    "with the norm before clipping",
    "largest difference",
    "weights",
    "Tolaria",
    "Tamiyo",
    "all dashboards",
    "charts of the report",
    "exceptions",
    "s",
)


def cells(row: Row) -> list[str]:
    """A row of the table of programs."""
    if wrong := row.wrong():
        return short(row.name, f"**FAILED**: {'; '.join(wrong)}", len(HEAD))
    of = {board.board: f"{board.panels} of {board.all_panels}" for board in row.boards}
    everywhere = f"{sum(b.panels for b in row.boards)} of {sum(b.all_panels for b in row.boards)}"
    return [
        f"{row.name} (`{row.program}`)",
        str(row.ranks),
        str(row.lines_changed),
        f"{row.seen} of {row.made}",
        f"{row.with_norm} of {row.made}",
        f"{row.difference:.1e}" if row.difference else "0",
        "same bits",
        *(of[board] for board in BOARDS),
        everywhere,
        f"{len(row.charts)} of {row.all_charts}",
        str(row.exceptions),
        f"{row.seconds:.0f}",
    ]


def short(name: str, why: str, width: int) -> list[str]:
    """The row of what did not hold, or was not run."""
    return [name, why, *[""] * (width - 2)]


def programs(rows: dict[str, Row]) -> str:
    """The table of programs."""
    names = [*matrix.CASES, *(name for name in rows if name not in matrix.CASES)]
    return table(HEAD, (cells(rows[name]) if name in rows else short(name, NOT_RUN, len(HEAD)) for name in names))


def exploded(found: dict[str, Exploded]) -> str:
    """The table of explosions."""
    head = ("program", "placements", "fired", "seen by a scrape before it", "healthy runs", "of them fired", "s")
    lines = []
    for name in explosions.CASES:
        one = found.get(name)
        if one is None:
            lines.append(short(name, NOT_RUN, len(head)))
            continue
        fired = f"{one.fired}" if one.fired == one.runs else f"**FAILED**: {one.fired}"
        bad = f"{one.healthy_fired}" if not one.healthy_fired else f"**FAILED**: {one.healthy_fired}"
        lines.append(
            [name, f"{one.runs}", fired, f"{one.between_scrapes}", f"{one.healthy}", bad, f"{one.seconds:.0f}"]
        )
    return table(head, lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


def made() -> str:
    """When, where and with which versions."""
    found = {one.name.lower(): one.version for one in distributions(path=[*sys.path, str(PACKAGES)])}
    versions = [f"{name} {found[name]}" for name in NAMED if name in found]
    prometheus = subprocess.run([tool("prometheus"), "--version"], capture_output=True, text=True, check=True)
    said = (prometheus.stdout or prometheus.stderr).split()
    versions.append(f"Prometheus {said[said.index('version') + 1]}")
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores, Linux {platform.release()}, Python "
        f"{platform.python_version()}, {', '.join(versions)}.\n"
    )


def write(ledger: Path) -> None:
    """Write both tables into the page."""
    found = entries(ledger)
    rows = {entry.name: entry for entry in found if isinstance(entry, Row)}
    bad = {entry.name: entry for entry in found if isinstance(entry, Exploded)}
    put(PAGE, "table of programs", f"{made()}\n{programs(rows)}")
    put(PAGE, "table of explosions", exploded(bad))


def main() -> int:
    """Run it; pytest's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--only", default="", help="as pytest's -k")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ledger = (options.ledger or Path(directory) / "ledger.jsonl").absolute()
        ledger.touch()
        status = 0
        if not options.table:
            command = [sys.executable, "-m", "pytest", "-q", "-k", options.only, *PARTS]
            environment = os.environ | {LEDGER_VARIABLE: str(ledger)}
            status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        write(ledger)
    return status


if __name__ == "__main__":
    sys.exit(main())
