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
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN [RUN]...",
            help="Run directory, log file (also .gz, .zst) or telemetry directory; of several, also with commas between"
            " them: a group.",
        ),
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("report.html"),
) -> None:
    """Write the charts of a run as a self-contained HTML page: one file, no server, no network.

    Several runs are laid over one another: a line for each group, with a band for its seeds. An argument of several
    runs is a group; single runs are one where their settings differ by the seed alone.

    Exit status 2: there is nothing to read, or the file cannot be written.
    """
    # Plotly takes a while to import, and only this command needs it
    from esper_otel.comparison.sides import parts_of
    from esper_otel.report.overlay.page import write_overlay
    from esper_otel.report.page import write_report

    try:
        if len(runs) == 1 and len(parts_of(runs[0])) == 1:
            write_report(runs[0], out, _tell)
        else:
            write_overlay(runs, out, _tell)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _tell(str(error))
        raise typer.Exit(2) from None
    if not is_stream(out):
        print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB; open it in a browser: {out.resolve().as_uri()}")


def _tell(text: str) -> None:
    print(f"esper-otel report: {printable(text)}", file=sys.stderr)
