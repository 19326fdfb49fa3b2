"""``esper-otel mcp``: the server on standard input and output."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from esper_otel.mcp_server.asker import Asker
from esper_otel.sql.connect import MEMORY_LIMIT
from esper_otel.text.extras import missing


def mcp(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[TELEMETRY_DIR]...",
            help="Directories of runs, runs or log files. Default: $ESPER_OTEL_TELEMETRY_DIR or ./telemetry.",
        ),
    ] = None,
    memory_limit: Annotated[
        str, typer.Option("--memory-limit", help="Memory limit of DuckDB, for example 512MB.")
    ] = MEMORY_LIMIT,
    timeout: Annotated[int, typer.Option(min=1, max=3600, help="Time limit for one question, s.")] = 60,
) -> None:
    """Serve runs to an AI assistant over MCP on standard input and output. Read-only.

    Needs the extra 'mcp'. Exit status 2: the extra is not installed, or a directory does not exist.
    """
    chosen = directories or [Path(os.environ.get("ESPER_OTEL_TELEMETRY_DIR") or "telemetry").expanduser()]
    for directory in chosen:
        if not directory.exists():
            _fail(f"{directory} does not exist: give a directory of runs, a run or a log file")
    try:
        duckdb.connect(config={"memory_limit": memory_limit}).close()
    except duckdb.Error as error:
        _fail(f"--memory-limit: {error}")
    try:
        tools = import_module("esper_otel.mcp_server.tools")
    except ModuleNotFoundError as error:
        _fail(missing(error.name or "mcp", "mcp"))
    asker = Asker(timeout)
    try:
        tools.server(tools.Tools(chosen, asker, memory_limit)).run()
    except KeyboardInterrupt:
        pass  # that is how a person ends it
    finally:
        asker.close()


def _fail(message: str) -> None:
    print(f"esper-otel: {message}", file=sys.stderr)
    raise typer.Exit(2)
