"""The command line of the relay."""

from __future__ import annotations

import gc
import signal
from pathlib import Path
from typing import Annotated, Final

import typer

from esper_otel.relay.checkpoint import StateDirectoryBusyError
from esper_otel.relay.console import say
from esper_otel.relay.options import DEFAULT_DRAIN_S, DEFAULT_STALL_S, Options
from esper_otel.relay.service import Relay
from esper_otel.settings import DEFAULT_LINGER_S

GC_OBJECTS: Final = 50_000
"""Objects allocated between two collections of the youngest generation."""


def relay(
    run: Annotated[Path, typer.Argument(help="Run directory, log file (also .gz, .zst) or telemetry directory.")],
    follow: Annotated[bool, typer.Option("--follow", help="The log grows: go on until the run ends.")] = False,
    linger: Annotated[float, typer.Option(help="Seconds to stay scrapable after the end.")] = DEFAULT_LINGER_S,
    drain: Annotated[float, typer.Option(help="Seconds to go on delivering by OTLP after the end.")] = DEFAULT_DRAIN_S,
    stall_after: Annotated[
        float, typer.Option(help="Seconds without progress that count as stalled.")
    ] = DEFAULT_STALL_S,
    idle_exit: Annotated[
        float | None,
        typer.Option(help="With --follow: end so many seconds after the last line; the first is waited for."),
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where to keep position and state.")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Forget the stored position.")] = False,
    run_id: Annotated[str | None, typer.Option(help="Name of the run, for logs that have none.")] = None,
    parent_pid: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Project the event log of a run to OpenTelemetry: Prometheus endpoint, spans, metrics and log events by OTLP.

    The Prometheus endpoint is on 127.0.0.1:9464, or the next free port; OTLP follows the OTEL_* variables.
    Exit status 3: an OTLP endpoint did not take everything; the same command delivers the rest.
    """
    options = Options(
        run=run,
        follow=follow,
        linger_s=linger,
        drain_s=drain,
        stall_after_s=stall_after,
        idle_exit_s=idle_exit,
        state_dir=state_dir,
        from_start=from_start,
        run_id=run_id,
        parent_pid=parent_pid,
    )
    # Batches of lines live for a moment and hold no cycles: looking through them every 700 objects is work for nothing.
    gc.set_threshold(GC_OBJECTS, 20, 20)
    try:
        service = Relay(options)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        status = service.run()
    except (FileNotFoundError, StateDirectoryBusyError, ValueError, OSError) as error:
        say(str(error))
        raise typer.Exit(2) from None
    raise typer.Exit(status)
