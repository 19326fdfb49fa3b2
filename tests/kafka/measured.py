"""The figures of the test in the order in which it finds them.

``python -m tests.kafka.measured`` writes them to the page.
"""

from __future__ import annotations

from typing import Final

from tests.tools import ROOT

FILE: Final = ROOT / "out" / "kafka" / "measured.md"
PAGE: Final = ROOT / "docs" / "evidence" / "kafka.md"
ROWS: Final[list[tuple[str, str]]] = []
BEGIN, END = "<!-- measured: written by tests/kafka/measured.py -->\n", "<!-- end of measured -->"


def note(what: str, found: object) -> None:
    """Add a row, and show it."""
    ROWS.append((what, str(found)))
    print(f"\n  {what}: {found}")


def write() -> None:
    """Write the rows so far as a table of Markdown."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"| {what} | {found} |" for what, found in ROWS]
    FILE.write_text("\n".join(["| what | measured |", "|---|---|", *rows, ""]), encoding="utf-8")


def to_page() -> None:
    """Put the table of the last run in its place on the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{FILE.read_text(encoding='utf-8')}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    to_page()
