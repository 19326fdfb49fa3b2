"""The command ``signals``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from esper_otel.alerts import summary_page
from esper_otel.events import EventDeclared
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.signals import SignalError, catalogue, custom
from esper_otel.signals.registry import Signal
from esper_otel.text.terminal import one_line

_LINES = 2000


class Format(StrEnum):
    """Format in which the catalogue is printed."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def signals(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run directory, log file or telemetry directory whose own events are listed as well."),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="table, json or markdown.")] = Format.TABLE,
) -> None:
    """Print the catalogue of signals: every metric with its names, unit, tier, attributes and source.

    Exit status 2: the run cannot be read.
    """
    try:
        declared = [] if run is None else declared_by(run)
    except OSError as error:
        _tell(str(error))
        raise typer.Exit(2) from None
    if output is Format.JSON:
        print(json.dumps(catalogue.rows(declared), indent=2))
    elif output is Format.MARKDOWN:
        print(catalogue.markdown(declared) + summary_page.markdown(), end="")
    else:
        _print_table(declared)


def declared_by(run: Path) -> list[Signal]:
    """The signals of the events that a run's log declares; says why where a declaration is refused.

    Raises:
        OSError: there is no log, or it cannot be read.
    """
    refused = set()
    with LogReader(run, decode_events=True) as reader:
        while batch := reader.read(_LINES):
            for item in batch:
                event = item.event if isinstance(item, Record) else None
                if not isinstance(event, EventDeclared):
                    continue
                try:
                    custom.learn(event)
                except SignalError as error:
                    refused.add(str(error)[:500])
    for text in sorted(refused):
        _tell(f"the log declares an event that breaks a rule: {text}")
    return list(custom.signals())


def _tell(text: str) -> None:
    print(f"esper-otel signals: {one_line(text)}", file=sys.stderr)


def _print_table(declared: Iterable[Signal]) -> None:
    """The columns that fit a terminal; the other formats have all of them."""
    table = Table()
    for title in ("metric", "instrument", "unit", "tier", "source"):
        table.add_column(title, overflow="fold")
    for row in catalogue.rows(declared):
        source = f"{row['event_type']} {row['field'] or ''}".strip() if row["event_type"] else "relay"
        table.add_row(row["name"], row["projection"], row["unit"], row["tier"], source)
    Console().print(table)
