"""The parity table: the panel for everything that esper-lite's views show, its page, and its gaps.

A row is one view of esper-lite or one field that the plan ranks. Its homes are panels, named ``<dashboard>/<panel>``;
a row without a panel has a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from grafana.boards import BOARDS, board_of
from grafana.parity.fields import TIERS
from grafana.parity.other_views import CONSUMERS, OVERWATCH
from grafana.parity.partly import PARTLY
from grafana.parity.row import ParityRow
from grafana.parity.sanctum import SANCTUM

PAGE: Final = Path("docs") / "evidence" / "dashboards-parity.md"
TABLE: Final[tuple[ParityRow, ...]] = (*SANCTUM, *OVERWATCH, *CONSUMERS, *TIERS)
_KNOWN: Final = frozenset(board.domain for board in BOARDS)


def open_rows() -> list[str]:
    """Rows without a panel on an existing dashboard that should have one, and rows with neither panel nor reason."""
    found = []
    for row in TABLE:
        homes = {home.split("/")[0] for home in row.homes}
        missing = [domain for domain in row.awaits if domain in _KNOWN and domain not in homes]
        found += [f"{row.section}: {row.name}: no panel on the dashboard of {domain}" for domain in missing]
        if not (row.homes or row.reason or row.awaits):
            found.append(f"{row.section}: {row.name}: neither a panel nor a reason")
    return found


def wrong_homes() -> list[str]:
    """Panels that do not exist, and claimed signals that their panel does not show."""
    return [f"{row.section}: {row.name}: {fault}" for row in TABLE for fault in _faults(row)]


def _faults(row: ParityRow) -> Iterator[str]:
    shown: set[str] = set()
    for home in row.homes:
        domain, key = home.split("/")
        try:
            panel = board_of(domain).panel(key)
        except KeyError as error:
            yield str(error.args[0])
            continue
        shown |= panel.signals | panel.event_types
    if missing := sorted(set(row.shows) - shown):
        yield f"its panels do not show {', '.join(missing)}"


def markdown() -> str:
    """The table as the page ``docs/evidence/dashboards-parity.md``."""
    lines = [
        "# Where the old views went",
        "",
        "Generated from `grafana/parity` by `make generate`; do not edit. Every view of esper-lite and every field",
        "that the plan ranks, and the panel that shows it. Each view was judged by what it shows in esper-lite and by",
        f"the queries and columns of the built panels: {_counted()}. On 30 November 2026 all were",
        "judged again in pictures of the drawn boards of five runs: five came out worse, and the table says how.",
        "Fifteen have their core in closed rows, in panels of Loki or Tempo, or of a GPU that no run had: they stand",
        "as judged by the definitions. Of the heatmap of gradients, pictures show counts alone.",
    ]
    section = ""
    for row in TABLE:
        if row.section != section:
            section = row.section
            lines += ["", f"## {section}", "", "| view or field | there | panels | remark |", "|---|---|---|---|"]
        lines.append(f"| {row.name} | {verdict(row)} | {'; '.join(map(_link, row.homes))} | {row.reason} |")
    return "\n".join(lines) + "\n"


def _counted() -> str:
    views = [verdict(row).partition(":")[0] for row in (*SANCTUM, *OVERWATCH, *CONSUMERS)]
    return ", ".join(f"{views.count(word)} {word}" for word in ("yes", "partly", "no"))


def verdict(row: ParityRow) -> str:
    """Yes, no, or partly with what is missing."""
    missing = PARTLY.get(row.name)
    return f"partly: {missing}" if missing else ("yes" if row.homes else "no")


def _link(home: str) -> str:
    domain, key = home.split("/")
    board = board_of(domain)
    return f"{board.title}: {board.panel(key).title}"


def generated(root: Path) -> dict[Path, str]:
    """Content of the page by its path under the repository ``root``."""
    return {root / PAGE: markdown()}
