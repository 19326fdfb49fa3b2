"""The command line: ``esper-otel``."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from esper_otel.dashboards_command import dashboards
from esper_otel.mcp_server.command import mcp
from esper_otel.relay.backfill_command import backfill
from esper_otel.relay.command import relay
from esper_otel.relay.doctor_command import doctor
from esper_otel.report.command import report
from esper_otel.signals import catalogue
from esper_otel.sql.command import compact, sql, views

app = typer.Typer(help="OpenTelemetry for the training of morphogenetic networks.", no_args_is_help=True)
app.command()(relay)
app.command()(backfill)
app.add_typer(dashboards, name="dashboards")
app.command()(sql)
app.command()(views)
app.command()(compact)
app.command()(report)
app.command()(mcp)
app.command()(doctor)


class Format(StrEnum):
    """How the catalogue is printed."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


@app.command()
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
    """What fits a terminal; the other formats hold everything."""
    table = Table()
    for title in ("metric", "instrument", "unit", "tier", "source"):
        table.add_column(title, overflow="fold")
    for row in catalogue.rows():
        source = f"{row['event_type']} {row['field'] or ''}".strip() if row["event_type"] else "relay"
        table.add_row(row["name"], row["projection"], row["unit"], row["tier"], source)
    Console().print(table)


def main() -> None:
    """Entry point of the console script."""
    app()
