"""Pictures of every dashboard, from top to bottom, of runs that are made for them.

    python scripts/screenshots.py [--tools DIR] [--grafana PATH --grafana-home DIR --prometheus PATH --loki PATH …]
    python scripts/screenshots.py --every DIR --recording esper-lite.jsonl.gz

Starts the stack on free loopback ports, trains under it, and looks at the dashboards with Chromium as a person would.
Without ``--every`` it makes ``docs/images``. Programs are those on the PATH, in ``--tools``, or named one by one;
Tempo, Loki and the collector may be absent, because what asks them is folded away.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.stack.layout import EXECUTABLES, Layout, layout
from deploy.stack.program import Settings, StackError
from deploy.stack.programs import programs
from deploy.stack.running import running
from deploy.stack.stores import DASHBOARDS, PASSWORD_FILE
from grafana.boards import BOARDS
from scripts.pictures.browser import Sight, Viewer, executable_of, viewer
from scripts.pictures.runs import ALL, ROOT, SCRAPE_S, Run, runs_named, trained
from scripts.pictures.shots import SHOTS, of_every_board, of_pages

OPTIONAL: Final = {"tempo", "loki", "collector"}
DEMO_ROUNDS: Final = 30
IMAGES: Final = ROOT / "docs" / "images"

Executable = Annotated[str | None, typer.Option(metavar="PATH", help="Use this program, not the one on the PATH.")]


def screenshots(
    out: Annotated[Path, typer.Option(help="Directory of the documentation's pictures.")] = IMAGES,
    every: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write every board of six runs, two widths and two themes there instead."),
    ] = None,
    recording: Annotated[Path | None, typer.Option(help="Recording of esper-lite for --every.")] = None,
    tools: Annotated[Path | None, typer.Option(help="Directory with the programs, before the PATH.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the demo.")] = DEMO_ROUNDS,
    chromium: Annotated[str, typer.Option(help="The browser.")] = "chromium",
    prometheus: Executable = None,
    alertmanager: Executable = None,
    collector: Executable = None,
    tempo: Executable = None,
    loki: Executable = None,
    grafana: Executable = None,
    grafana_home: Annotated[Path | None, typer.Option(help="Grafana's directory with its web pages.")] = None,
) -> None:
    """Train runs and write pictures. Exit status 1: a program is missing, or a panel shows an error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped on the way out
    given = zip(EXECUTABLES, (prometheus, alertmanager, collector, tempo, loki, grafana), strict=True)
    if tools is not None:
        os.environ["PATH"] = os.pathsep.join([str(tools.absolute()), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory(prefix="esper-screenshots-") as temporary:
        settings = Settings(
            telemetry_dir=Path(temporary) / "telemetry",
            data_dir=Path(temporary) / "stack",
            interval_s=SCRAPE_S,
            executables={name: path for name, path in given if path is not None},
            standard_ports=False,
            grafana_home=grafana_home,
        )
        settings.telemetry_dir.mkdir()  # Prometheus watches directories that exist when it starts
        try:
            at = layout(settings)
            _check(at)
            wanted = ALL if every is not None else tuple(dict.fromkeys(shot.run for shot in SHOTS))
            runs = runs_named(wanted, at, rounds, recording)
            failed = _make(
                at, executable_of(chromium), runs, out if every is None else every, is_every=every is not None
            )
        except StackError as error:
            raise SystemExit(f"screenshots: {error}") from None
    print("\n".join(failed))
    raise typer.Exit(1 if failed else 0)


def _check(at: Layout) -> None:
    absent = [name for name in EXECUTABLES if not at.has(name) and name not in OPTIONAL]
    if absent:
        may = ", ".join(sorted(OPTIONAL))
        raise StackError(f"{', '.join(absent)} not found: the pictures need them; only {may} may be absent")
    unbuilt = [board.uid for board in BOARDS if not (DASHBOARDS / f"{board.uid}.json").exists()]
    if unbuilt:
        raise StackError(f"no file in {DASHBOARDS} for {', '.join(unbuilt)}: run 'esper-otel dashboards build'")


def _make(at: Layout, chromium: str, runs: tuple[Run, ...], out: Path, *, is_every: bool) -> list[str]:
    """All pictures; a line for each panel that shows an error."""
    out.mkdir(parents=True, exist_ok=True)
    with running(programs(at), at.data("log")), trained(at, runs) as shown:
        password = at.data(PASSWORD_FILE).read_text(encoding="utf-8").strip()
        with viewer(chromium, at.url("grafana"), password) as person:
            sights = of_every_board(out, shown) if is_every else of_pages(out, shown)
            return [failed for sight in sights for failed in _taken(person, sight)]


def _taken(person: Viewer, sight: Sight) -> list[str]:
    """Take a sight, and once more if the page is not drawn in time: one of two hundred must not end the others."""
    try:
        return person.take(sight)
    except StackError as error:
        print(f"{error}; trying it once more", flush=True)
    try:
        return person.take(sight)
    except StackError as error:
        return [str(error)]


if __name__ == "__main__":
    typer.run(screenshots)
