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


def mcp(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[TELEMETRY_DIR]...",
            help="Directories of runs, runs or log files; ESPER_OTEL_TELEMETRY_DIR, else telemetry, unless said.",
        ),
    ] = None,
    memory_limit: Annotated[
        str, typer.Option("--memory-limit", help="Memory that DuckDB may take, for instance 512MB.")
    ] = MEMORY_LIMIT,
    timeout: Annotated[int, typer.Option(min=1, max=3600, help="Seconds that a question may take.")] = 60,
) -> None:
    """Answer an assistant's questions about runs, over MCP on standard input and output. Nothing is written.

    Needs the extra 'mcp'. Exit status 2: it is not installed, or there is no such directory.
    """
    chosen = directories or [Path(os.environ.get("ESPER_OTEL_TELEMETRY_DIR") or "telemetry")]
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
        _fail(f"the MCP server needs a package that is missing ({error.name}): pip install 'esper-otel[mcp]'")
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
