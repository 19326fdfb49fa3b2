"""Figures as text, those of all runs in one cell, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]


def figure(value: float, digits: int = 3) -> str:
    """A number with ``digits`` significant digits and a thousands separator."""
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    decimals = digits - 1 - (0 if value < 1 else len(f"{value:.0f}") - 1)
    return f"{value:.{max(decimals, 0)}f}"


def ratio(value: float) -> str:
    """A ratio, to a thousandth where it is near 1."""
    return f"{value:.3f}" if value < 2 else figure(value)


def both(rows: Sequence[Row | None], text: Callable[[Row], str]) -> str:
    """Value of each run, ``–`` if a run has none; a single value if all are equal."""
    said = [text(row) if row is not None else "–" for row in rows]
    return said[0] if len(set(said)) == 1 else " · ".join(said)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; numbers to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def found(rows: Sequence[Row], **wanted: object) -> Row | None:
    """The first row that has these values."""
    return next((row for row in rows if all(row.get(key) == value for key, value in wanted.items())), None)
