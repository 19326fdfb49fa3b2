"""``python -m deploy.stack``: the monitoring stack on this machine, from binaries, until Ctrl-C."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from deploy.stack.layout import EXECUTABLES, HOW_TO_GET, Layout, layout
from deploy.stack.program import Program, Settings, StackError
from deploy.stack.programs import programs
from deploy.stack.running import running
from deploy.stack.scraping import INTERVAL_S, Way

Executable = Annotated[str | None, typer.Option(metavar="PATH", help="Use this program, not the one on the PATH.")]


def stack(
    telemetry_dir: Annotated[Path, typer.Option(help="Directory of runs.")] = Path("telemetry"),
    data: Annotated[Path, typer.Option(help="Data directory of the servers.")] = Path("out/stack"),
    metrics: Annotated[
        Way,
        typer.Option(
            help="scrape: Prometheus scrapes each relay. otlp: relays push, Prometheus scrapes the collector."
        ),
    ] = Way.SCRAPE,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Also send every notification to this URL.")
    ] = None,
    every: Annotated[
        float, typer.Option(min=0.5, help="Seconds between scrapes; shorter than 15 is for demonstrations.")
    ] = INTERVAL_S,
    without: Annotated[
        list[str] | None, typer.Option(metavar="PROGRAM", help="Do not start this program; may be repeated.")
    ] = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Use any free ports, not the usual ones.")] = False,
    prometheus: Executable = None,
    alertmanager: Executable = None,
    collector: Executable = None,
    tempo: Executable = None,
    loki: Executable = None,
    grafana: Executable = None,
    grafana_home: Annotated[Path | None, typer.Option(help="Grafana's directory with its web pages.")] = None,
) -> None:
    """Run Prometheus, Alertmanager and the collector; if installed, also Tempo, Loki and Grafana. All bind to loopback.

    Looks for programs in .tools/bin and on the PATH. Exit status 1: a program could not be started, or ended.
    """
    given = zip(EXECUTABLES, (prometheus, alertmanager, collector, tempo, loki, grafana), strict=True)
    settings = Settings(
        telemetry_dir=telemetry_dir,
        data_dir=data,
        way=metrics,
        interval_s=every,
        executables={name: path for name, path in given if path is not None},
        without=frozenset(without or ()),
        standard_ports=not free_ports,
        webhook=webhook,
        grafana_home=grafana_home,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(settings)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("stack: stopped")


def _run(settings: Settings) -> None:
    unknown = settings.without - set(EXECUTABLES)
    if unknown:
        raise StackError(f"--without {', '.join(sorted(unknown))}: expected one of {', '.join(EXECUTABLES)}")
    at = layout(settings)
    planned = programs(at)
    print(f"stack: starting {', '.join(program.name for program in planned)}", flush=True)
    with running(planned, at.data("log")) as started:
        print("\n".join(_welcome(at, planned)), flush=True)
        started.watch()


def _welcome(at: Layout, planned: list[Program]) -> list[str]:
    """Addresses of the servers, and the settings for a trainer."""
    lines = ["stack: ready", *(f"  {line}" for program in planned for line in program.shows)]
    lines.append(f"  logs and data         {at.data()}")
    if at.settings.way is Way.SCRAPE:
        lines.append(f"  runs in {at.settings.telemetry_dir.absolute()} are scraped; no setting is needed.")
        if at.has("collector"):
            lines.append(f"  for traces and log events too: export OTEL_EXPORTER_OTLP_ENDPOINT={at.url('otlp_http')}")
    else:
        lines.append(f"  in the trainer's shell: export OTEL_EXPORTER_OTLP_ENDPOINT={at.url('otlp_http')}")
    absent = [name for name in EXECUTABLES if not at.has(name)]
    if absent:
        lines.append(f"  not started           {', '.join(absent)}")
    if "grafana" in absent and "grafana" not in at.settings.without:
        lines.append(f"  for the dashboards    {HOW_TO_GET['grafana']}")
    return lines


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(stack)
