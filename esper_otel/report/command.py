"""The command ``report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from esper_otel.log.opening import is_stream
from esper_otel.text.terminal import printable


def report(
    run: Annotated[Path, typer.Argument(help="Run directory, log file (also .gz, .zst) or telemetry directory.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("report.html"),
) -> None:
    """Write the charts of one run as a self-contained HTML page: one file, no server, no network.

    Exit status 2: there is nothing to read, or the file cannot be written.
    """
    from esper_otel.report.page import write_report  # Plotly takes a while to import, and only this command needs it

    try:
        write_report(run, out, _tell)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _tell(str(error))
        raise typer.Exit(2) from None
    if not is_stream(out):
        print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB; open it in a browser: {out.resolve().as_uri()}")


def _tell(text: str) -> None:
    print(f"esper-otel report: {printable(text)}", file=sys.stderr)
