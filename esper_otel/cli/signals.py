"""The command ``signals``."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from esper_otel.signals import catalogue


class Format(StrEnum):
    """Format in which the catalogue is printed."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def signals(
    output: Annotated[Format, typer.Option("--format", help="table, json or markdown.")] = Format.TABLE,
) -> None:
    """Print the catalogue of signals: every metric with its names, unit, tier, attributes and source."""
    if output is Format.JSON:
        print(json.dumps(catalogue.rows(), indent=2))
    elif output is Format.MARKDOWN:
        print(catalogue.markdown(), end="")
    else:
        _print_table()


def _print_table() -> None:
    """The columns that fit a terminal; the other formats have all of them."""
    table = Table()
    for title in ("metric", "instrument", "unit", "tier", "source"):
        table.add_column(title, overflow="fold")
    for row in catalogue.rows():
        source = f"{row['event_type']} {row['field'] or ''}".strip() if row["event_type"] else "relay"
        table.add_row(row["name"], row["projection"], row["unit"], row["tier"], source)
    Console().print(table)
