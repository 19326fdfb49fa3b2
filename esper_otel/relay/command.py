"""The command line of the relay."""

from __future__ import annotations

import gc
import signal
from pathlib import Path
from typing import Annotated, Final

import typer

from esper_otel.log.opening import raise_file_limit
from esper_otel.relay.alerts.setup import alert_options
from esper_otel.relay.archive.setup import archive_url
from esper_otel.relay.checkpoint import StateDirectoryBusyError
from esper_otel.relay.console import say
from esper_otel.relay.metrics.summary import metrics_option
from esper_otel.relay.options import (
    DEFAULT_DRAIN_S,
    DEFAULT_GRACE_S,
    DEFAULT_LAST_SCRAPE_S,
    DEFAULT_STALL_S,
    DEFAULT_WAIT_S,
    Options,
)
from esper_otel.relay.otlp.log_choice import log_options
from esper_otel.relay.pacing import Flag
from esper_otel.relay.service import Relay
from esper_otel.relay.telemetry_directory import with_run
from esper_otel.runtime.launch import END_LINGERING
from esper_otel.runtime.settings import DEFAULT_LINGER_S

GC_OBJECTS: Final = 50_000
"""Objects allocated between two collections of the youngest generation."""


def relay(
    run: Annotated[Path, typer.Argument(help="Run directory, log file (also .gz, .zst) or telemetry directory.")],
    follow: Annotated[bool, typer.Option("--follow", help="Keep following the log until the run ends.")] = False,
    linger: Annotated[
        float, typer.Option(help="Seconds to serve metrics after the end of the run.")
    ] = DEFAULT_LINGER_S,
    drain: Annotated[
        float, typer.Option(help="Seconds to continue delivering by OTLP after the end of the run.")
    ] = DEFAULT_DRAIN_S,
    grace: Annotated[
        float,
        typer.Option(
            min=0,
            help="With --follow: seconds that the run may take to end after SIGTERM; the relay then waits for a last"
            " scrape and delivers the rest. A second SIGTERM, or Ctrl-C, ends it at once, as SIGTERM does with 0.",
        ),
    ] = DEFAULT_GRACE_S,
    last_scrape: Annotated[
        float, typer.Option(min=0, help="With --grace: seconds that the last scrape may take after the end of the run.")
    ] = DEFAULT_LAST_SCRAPE_S,
    stall_after: Annotated[
        float, typer.Option(help="Seconds without progress after which the run counts as stalled.")
    ] = DEFAULT_STALL_S,
    idle_exit: Annotated[
        float | None,
        typer.Option(
            help="With --follow: exit after this many seconds without a new line, counted from the first line."
        ),
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Directory for position and state.")] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Ignore the stored position and read the log from the start.")
    ] = False,
    run_id: Annotated[str | None, typer.Option(help="Name of the run, for logs that have none.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another relay of this run to end.")] = DEFAULT_WAIT_S,
    of_node: Annotated[
        bool, typer.Option("--of-node", help="Follow the ranks that run on this node: every node has its relay.")
    ] = False,
    alerts: Annotated[
        bool, typer.Option("--alerts", help="Diagnose the run while it goes on; write findings to its log.")
    ] = False,
    alert_webhook: Annotated[
        str | None,
        typer.Option(help="Address that gets each finding once, as Alertmanager's webhook JSON; implies --alerts."),
    ] = None,
    alert_command: Annotated[
        str | None,
        typer.Option(help="Program that gets the same JSON on standard input, without a shell; implies --alerts."),
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option(
            help="Archive on object storage that the run goes into as Parquet: s3://, gs:// or az://BUCKET/PREFIX, file:///DIR."
        ),
    ] = None,
    logs: Annotated[
        str | None,
        typer.Option(
            help="Log events sent by OTLP: all; warnings, with events of the run itself; sampled, with whole rounds."
        ),
    ] = None,
    logs_every: Annotated[
        int | None, typer.Option(help="With --logs sampled: rounds of which one is sent whole, 100 by default.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics of ranks and environments: all; summary, minimum, median, maximum and the worst."),
    ] = None,
    parent_pid: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Project the event log of a run to OpenTelemetry: Prometheus endpoint, spans, metrics and log events by OTLP.

    The Prometheus endpoint is on 127.0.0.1:9464, or the next free port; OTLP follows the OTEL_* variables.
    Exit status 3: an OTLP endpoint or the archive did not accept everything. The same command delivers the rest.
    Items that were rejected for good are counted.
    """
    try:
        asked = alert_options(is_asked=alerts, webhook=alert_webhook, command=alert_command)
        url = archive_url(archive)
        chosen = log_options(logs, logs_every)
        of_metrics = metrics_option(metrics)
    except ValueError as error:
        say(str(error))
        raise typer.Exit(2) from None
    options = Options(
        run=run,
        follow=follow,
        linger_s=linger,
        drain_s=drain,
        grace_s=grace,
        last_scrape_s=last_scrape,
        stall_after_s=stall_after,
        idle_exit_s=idle_exit,
        state_dir=state_dir,
        from_start=from_start,
        run_id=run_id,
        parent_pid=parent_pid,
        of_node=of_node,
        wait_s=wait,
        alerts=asked,
        archive=url,
        logs=chosen,
        metrics=of_metrics,
    )
    raise_file_limit()  # a run has a log for each rank
    # Batches of lines live for a moment and hold no cycles: looking through them every 700 objects is work for nothing.
    gc.set_threshold(GC_OBJECTS, 20, 20)
    try:
        status = _serve(options)
    except StateDirectoryBusyError as error:
        if parent_pid is None:
            say(str(error))
            raise typer.Exit(2) from None
        say("another relay follows this run; this one is not needed and exits")
        raise typer.Exit(0) from None
    except (FileNotFoundError, ValueError, OSError) as error:
        say(str(error))
        raise typer.Exit(2) from None
    raise typer.Exit(status)


def _serve(options: Options) -> int:
    """Follow the run, and every one that takes its place in a telemetry directory; the last exit status."""
    signals = _Signals(options)
    signals.install()
    status, current = 0, with_run(options, signals.told)
    while current is not None and not signals.stopped.is_set():
        service = Relay(current)
        signals.pass_to(service)
        status = service.run()
        current = service.next_options
    return status


class _Signals:
    """Signals to the relay, kept for the service that runs when they come.

    Attributes:
        told: one told it to end.
        stopped: one told it to end at once.
    """

    def __init__(self, options: Options) -> None:
        self.told = Flag()
        self.stopped = Flag()
        self._has_grace = options.follow and options.grace_s > 0
        self._service: Relay | None = None

    def install(self) -> None:
        """Handle the signals from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(END_LINGERING, self._end_lingering)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [END_LINGERING])

    def pass_to(self, service: Relay) -> None:
        """Tell ``service`` what comes from now on, and what came while it was made."""
        self._service = service
        if self.told.is_set():
            self._tell(service)

    def _end(self, number: int, _: object) -> None:
        if self.told.is_set() or number != signal.SIGTERM or not self._has_grace:
            self.stopped.set()
        self.told.set()
        if self._service is not None:
            self._tell(self._service)

    def _tell(self, service: Relay) -> None:
        if self.stopped.is_set():
            service.ending.at_once()
        else:
            service.ending.in_order()

    def _end_lingering(self, *_: object) -> None:
        if self._service is not None:
            self._service.ending.after_delivery()
