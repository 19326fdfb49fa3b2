"""Pictures of every dashboard, from top to bottom, of runs that are made for them: ``docs/images``.

    python scripts/screenshots.py [--tools DIR] [--grafana PATH --grafana-home DIR --prometheus PATH --loki PATH …]

Starts the stack on free loopback ports, trains the demo and the chaos recipe under it, and looks at the dashboards
with Chromium as a person would. Programs are those on the PATH, in ``--tools``, or named one by one; Tempo and Loki
may be absent, because what asks them is folded away.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
import typer
from playwright.sync_api import Browser, Page, Request, sync_playwright

from deploy.stack.layout import EXECUTABLES, Layout, layout
from deploy.stack.program import Settings, StackError
from deploy.stack.programs import programs
from deploy.stack.running import running
from deploy.stack.stores import DASHBOARDS, PASSWORD_FILE
from grafana.boards import BOARDS, HOME

ROOT: Final = Path(__file__).parents[1]
WIDTH, HEIGHT = 1600, 8000
"""Size of the window in pixels; a picture ends below the last row."""

OPTIONAL: Final = {"tempo", "loki"}
DARK, LIGHT = "dark", "light"
SCRAPE_S: Final = 5.0
TRAINING_S: Final = 1800.0
PAGE_S: Final = 60.0
QUIET_S: Final = 1.5
"""A page is finished when it has asked for nothing for so long and no panel shows that it loads."""

LAST_EVENTS_S: Final = 3 * SCRAPE_S
DEMO_ROUNDS: Final = 70
"""More than the recipe's: panels have a point every 15 s, and a run of a minute or two would have few of them."""

LOADING: Final = '[aria-label="Panel loading bar"], [data-testid="data-testid Panel loading bar"]'
FAILED: Final = '[data-testid="data-testid Panel status error"]'
BOTTOM: Final = (
    "Math.max(...[...document.querySelectorAll('.react-grid-item')].map(x => x.getBoundingClientRect().bottom))"
)
MARGIN: Final = 16
PANEL: Final = '[data-testid^="data-testid Panel header "]'

Executable = Annotated[str | None, typer.Option(metavar="PATH", help="Use this program, not the one on the PATH.")]


class Shot(msgspec.Struct, frozen=True):
    """One dashboard with one run, the name of its pictures, and their themes."""

    uid: str
    run: str
    name: str
    themes: tuple[str, ...]


IN_LIGHT: Final = {"esper-kasmina", "esper-esper", "esper-runs"}
"""Boards whose only picture is light; the first one and the chaos run have one of each."""

SHOTS: Final = (
    *(
        Shot(board.uid, "demo", board.uid, (LIGHT if board.uid in IN_LIGHT else DARK,))
        for board in BOARDS
        if board is not HOME
    ),
    Shot(HOME.uid, "demo", HOME.uid, (DARK, LIGHT)),
    Shot(HOME.uid, "chaos", f"{HOME.uid}-chaos", (DARK, LIGHT)),
)

Shown = tuple[float, float]
"""The time that a picture shows, Unix s."""


class Traffic:
    """Condition that a page waits for."""

    def __init__(self, page: Page) -> None:
        self._open: set[Request] = set()
        self._changed = time.monotonic()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    @property
    def is_quiet(self) -> bool:
        """Return True if nothing is being loaded, and nothing was for a while."""
        return not self._open and time.monotonic() - self._changed > QUIET_S

    def _begin(self, request: Request) -> None:
        if "/api/live" not in request.url:  # stays open for ever
            self._open.add(request)
            self._changed = time.monotonic()

    def _end(self, request: Request) -> None:
        self._open.discard(request)
        self._changed = time.monotonic()


def screenshots(
    out: Annotated[Path, typer.Option(help="Directory of the pictures.")] = ROOT / "docs" / "images",
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
    """Train runs and write pictures to docs/images. Exit status 1: a program is missing, or a panel shows an error."""
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
            failed = _make(layout(settings), _browser_at(chromium), out, rounds)
        except StackError as error:
            raise SystemExit(f"screenshots: {error}") from None
    raise typer.Exit(1 if failed else 0)


def _browser_at(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not on the PATH: get it with 'apt-get install chromium', or use --chromium PATH")
    return found


def _make(at: Layout, chromium: str, out: Path, rounds: int) -> list[str]:
    """All pictures; the panels that show an error."""
    absent = [name for name in EXECUTABLES if not at.has(name) and name not in OPTIONAL]
    if absent:
        raise StackError(f"{', '.join(absent)} not found: the pictures need them; only Tempo and Loki may be absent")
    unbuilt = [shot.uid for shot in SHOTS if not (DASHBOARDS / f"{shot.uid}.json").exists()]
    if unbuilt:
        raise StackError(f"no file in {DASHBOARDS} for {', '.join(unbuilt)}: run 'esper-otel dashboards build'")
    out.mkdir(parents=True, exist_ok=True)
    with running(programs(at), at.data("log")), _trained(at, rounds) as shown, sync_playwright() as play:
        # Without its sandbox, because the superuser, as whom containers often run, may not have one.
        arguments = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb", "--hide-scrollbars"]
        browser = play.chromium.launch(executable_path=chromium, args=arguments)
        try:
            return [
                failed
                for shot in SHOTS
                for theme in shot.themes
                for failed in _picture(browser, at, shot, theme, shown[shot.run], out)
            ]
        finally:
            browser.close()


@contextmanager
def _trained(at: Layout, rounds: int) -> Iterator[dict[str, Shown]]:
    """Both recipes trained to their end; yields the time of each."""
    since = time.time()
    children = {"chaos": _train(at, "chaos", []), "demo": _train(at, "demo", ["--rounds", str(rounds)])}
    shown: dict[str, Shown] = {}
    try:
        while len(shown) < len(children):
            time.sleep(1.0)
            for recipe, child in children.items():
                if child.poll() is not None and recipe not in shown:
                    shown[recipe] = since, time.time() + LAST_EVENTS_S
                if child.returncode or time.time() > since + TRAINING_S:
                    raise StackError(f"the recipe {recipe} failed, or is not done after {TRAINING_S:g} s")
        time.sleep(LAST_EVENTS_S)
        yield shown
    finally:
        for child in children.values():
            child.kill()
            child.wait()


def _train(at: Layout, recipe: str, added: list[str]) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ESPER_OTEL_"))}
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": at.url("otlp_http"),
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "ESPER_OTEL_RUN_ID": recipe,
        "ESPER_OTEL_LINGER": str(int(LAST_EVENTS_S * 4)),
    }
    command = [sys.executable, "-m", "trainer", "--recipe", recipe, "--no-progress"]
    command += [*added, "--telemetry-dir", str(at.settings.telemetry_dir)]
    return subprocess.Popen(command, cwd=ROOT, env=kept | environment, stdout=subprocess.DEVNULL)


def _picture(browser: Browser, at: Layout, shot: Shot, theme: str, shown: Shown, out: Path) -> list[str]:
    """One picture; the titles of the panels that show an error."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, timezone_id="UTC", locale="en-GB", reduced_motion="reduce"
    )
    try:
        password = at.data(PASSWORD_FILE).read_text(encoding="utf-8").strip()
        answer = context.request.post(f"{at.url('grafana')}/login", data={"user": "admin", "password": password})
        if not answer.ok:
            raise StackError(f"Grafana does not let admin in: {answer.status} {answer.text()[:200]}")
        page = context.new_page()
        traffic = Traffic(page)
        since_ms, until_ms = (f"{seconds * 1000:.0f}" for seconds in shown)
        query = {"from": since_ms, "to": until_ms, "var-job": "esper", "var-instance": shot.run}
        query |= {"theme": theme, "timezone": "utc"}
        page.goto(f"{at.url('grafana')}/d/{shot.uid}?{urlencode(query)}&kiosk", wait_until="domcontentloaded")
        _settle(page, traffic)
        page.set_viewport_size({"width": WIDTH, "height": int(page.evaluate(BOTTOM)) + MARGIN})
        _settle(page, traffic)
        path = out / f"{shot.name}-{theme}.png"
        page.screenshot(path=path)
        failed = [f"{path.name}: a panel shows an error" for _ in range(page.locator(FAILED).count())]
        print("\n".join([f"{path} ({path.stat().st_size / 1024:.0f} KiB)", *failed]), flush=True)
        return failed
    finally:
        context.close()


def _settle(page: Page, traffic: Traffic) -> None:
    """Return when everything on the screen is drawn.

    Raises:
        StackError: no panel appeared, or one still loads after ``PAGE_S``.
    """
    deadline = time.monotonic() + PAGE_S
    while time.monotonic() < deadline:
        page.wait_for_timeout(250)
        if traffic.is_quiet and page.locator(PANEL).count() and not page.locator(LOADING).count():
            return
    raise StackError(f"{page.url} is not drawn after {PAGE_S:g} s: {page.inner_text('body')[:200]!r}")


if __name__ == "__main__":
    typer.run(screenshots)
