"""``esper-otel doctor``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from esper_otel.doctor.checks import State, examine
from esper_otel.text.terminal import printable

_STYLES: Final = {State.GOOD: "green", State.NOTE: "yellow", State.BAD: "bold red"}


def doctor(
    telemetry_dir: Annotated[
        Path | None, typer.Argument(help="Directory of runs. Default: $ESPER_OTEL_TELEMETRY_DIR or ./telemetry.")
    ] = None,
) -> None:
    """Check disk, latest run, its relay, ports, OTLP endpoints, archive and GPU.

    Exit status 1 if a check fails. OTLP endpoints receive an empty request.
    """
    directory = telemetry_dir or Path(os.environ.get("ESPER_OTEL_TELEMETRY_DIR") or "telemetry").expanduser()
    console = Console(soft_wrap=True)
    is_bad = False
    for finding in examine(directory):
        is_bad = is_bad or finding.state is State.BAD
        state = f"[{_STYLES[finding.state]}]{finding.state:4}[/]"
        console.print(f"{state} {finding.what:19} {escape(printable(finding.text))}", highlight=False)
    raise typer.Exit(int(is_bad))
