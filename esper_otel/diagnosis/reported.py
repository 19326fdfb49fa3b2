"""The command ``alerts``: the findings that the relay wrote to the log while it followed the run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Final

import duckdb
import typer

from esper_otel.diagnosis.command import span_of
from esper_otel.sql import connect
from esper_otel.sql.connect import MEMORY_LIMIT
from esper_otel.sql.plain import plain
from esper_otel.sql.select import out_of_memory
from esper_otel.text.terminal import printable

_COLUMNS: Final = (
    "timestamp, run_id, session, grade, kind, alert, confidence, sentence, who, occurred, evidence, cause, meaning,"
    " next_step, query, stops"
)


def alerts(
    run: Annotated[Path, typer.Argument(help="Run directory or Parquet directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    since: Annotated[str | None, typer.Option(help="Findings of the last 90s, 10m, 2h, 1d only, until now.")] = None,
) -> None:
    """List the findings that the relay made while it followed the run (relay --alerts), oldest first. Read-only.

    Exit status 2: the run cannot be read. 'esper-otel diagnose' judges the run anew.
    """
    try:
        found = findings_in(run, None if since is None else span_of(since))
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        print(f"esper-otel alerts: {printable(out_of_memory(str(error)))}", file=sys.stderr)
        raise typer.Exit(2) from None
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(map(printable, _lines(found))))


def findings_in(
    run: str | PathLike[str], since: timedelta | None = None, memory_limit: str = MEMORY_LIMIT
) -> list[dict[str, Any]]:
    """The findings in the log of a run as plain data, oldest first; what a finding does not have is left out.

    ``since``: only those of this time before now.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``.
        ValueError: Parquet files there are invalid.
    """
    begins = datetime.now(UTC).replace(tzinfo=None) - since if since is not None else datetime.min
    with connect([run], memory_limit, views=["finding"]) as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM finding WHERE timestamp >= ? ORDER BY timestamp, kind", [begins]
        ).fetchall()
    names = _COLUMNS.split(", ")
    return [
        {name: plain(value) for name, value in zip(names, row, strict=True) if value not in (None, {})} for row in rows
    ]


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        yield "No findings in the log. 'esper-otel relay RUN --follow --alerts' writes them as the run goes on."
    for each in found:
        who = ", ".join(f"{name} {value}" for name, value in each.get("who", {}).items())
        yield f"{each['timestamp']}  {each['grade'].upper():<8}  {each['sentence']}{f'  ({who})' if who else ''}"
        if "next_step" in each:
            yield f"    next: {each['next_step']}"
