"""The command ``trace``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from esper_otel.diagnosis.command import span_of
from esper_otel.sql.connect import MEMORY_LIMIT
from esper_otel.sql.select import out_of_memory
from esper_otel.text.terminal import printable
from esper_otel.timeline.trace import Choice, write_trace


def trace(
    run: Annotated[Path, typer.Argument(help="Run directory, log file (also .gz, .zst) or Parquet directory.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write: JSON, compressed if the name ends with .gz.")
    ] = Path("run.trace.json.gz"),
    round_: Annotated[int | None, typer.Option("--round", help="Draw one round only, on all ranks.")] = None,
    update: Annotated[
        int | None, typer.Option("--update", help="Draw one update of a plain loop only, on all ranks.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Draw the last part of the run only: 90s, 10m, 2h, 1d before its last event.")
    ] = None,
    memory_limit: Annotated[
        str, typer.Option("--memory-limit", help="Memory limit of DuckDB, for example 512MB.")
    ] = MEMORY_LIMIT,
) -> None:
    """Write a run as a trace for Perfetto: rounds, updates, phases, counters, findings; all ranks on one time axis.

    Open the file at https://ui.perfetto.dev, which reads it in the browser. Read-only. Exit status 2: the run cannot be
    read, has no such round or update, or the file cannot be written.
    """
    given = [
        name for name, value in (("--round", round_), ("--update", update), ("--since", since)) if value is not None
    ]
    try:
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        choice = Choice(round=round_, update=update, since=None if since is None else span_of(since))
        count = write_trace(run, output, choice, memory_limit=memory_limit, tell=_tell)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _tell(out_of_memory(str(error)))
        raise typer.Exit(2) from None
    print(f"{output}: {count} events, {output.stat().st_size} bytes")


def _tell(text: str) -> None:
    print(f"esper-otel trace: {printable(text)}", file=sys.stderr)
