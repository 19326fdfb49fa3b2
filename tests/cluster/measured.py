"""What the tests of the cluster measure, in the order of the table on the page.

``python -m tests.cluster.measured`` writes the last table to the page.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from scripts.cluster.places import LOGS, ROOT

FILE = LOGS.parent / "measured.md"
ROWS: list[tuple[str, str]] = []
BEGAN = time.monotonic()
PAGE = ROOT / "docs" / "evidence" / "cluster.md"
BEGIN, END = "<!-- measured: written by tests/cluster/measured.py -->\n", "<!-- end of measured -->"


def note(what: str, found: object) -> None:
    """Add a row, and show it."""
    ROWS.append((what, str(found)))
    print(f"\n  {what}: {found}")


def write() -> None:
    """Write the rows as a table of Markdown, with time and memory of the lab."""
    rows = [f"| {what} | {found} |" for what, found in ROWS]
    spent = f"{(time.monotonic() - BEGAN) / 60:.0f} min"
    rows += [f"| time of the tests, without that of the lab's start ({os.environ['ESPER_LAB_UP_S']} s) | {spent} |"]
    rows += [f"| memory of {name} | {size} MiB |" for name, size in memory().items()]
    FILE.write_text("\n".join(["| what happens | measured |", "|---|---|", *rows, ""]), encoding="utf-8")


def memory() -> dict[str, int]:
    """Resident memory of the lab's programs and of everything else in its namespaces, MiB, the largest first."""
    names = {int(pid): name for name, _, pid in (part.partition("=") for part in _started())}
    sizes: dict[str, int] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmRSS" in fields:
            name = names.get(int(fields["Pid"]), fields["Name"].strip())
            sizes[name] = sizes.get(name, 0) + int(fields["VmRSS"].split()[0])
    by_size = sorted(sizes.items(), key=lambda each: -each[1])
    return {name: kib // 1024 for name, kib in by_size if kib >= 16 << 10}


def _started() -> list[str]:
    return [part for part in os.environ.get("ESPER_LAB_PIDS", "").split(",") if part]


def to_page() -> None:
    """Put the table of the last run in its place on the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{FILE.read_text(encoding='utf-8')}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    to_page()
