"""A browser that looks at a dashboard from top to bottom, as a person would."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import msgspec
from playwright.sync_api import BrowserContext, Page, Request, sync_playwright

from deploy.stack.program import StackError
from grafana.layout.board import NEVER

HEIGHT: Final = 8000
"""Height of the window in pixels while a page is loaded; a picture ends below the last row."""

DARK, LIGHT = "dark", "light"
PAGE_S: Final = 120.0
"""Longest time for a page: a busy machine takes a minute."""

QUIET_S: Final = 1.5
"""A page is finished when it has asked for nothing for so long and no panel shows that it loads."""

LOADING: Final = '[aria-label="Panel loading bar"], [data-testid="data-testid Panel loading bar"]'
FAILED: Final = '[data-testid="data-testid Panel status error"]'
PANEL: Final = '[data-testid^="data-testid Panel header "]'
BOTTOM: Final = (
    "Math.max(...[...document.querySelectorAll('.react-grid-item')].map(x => x.getBoundingClientRect().bottom))"
)
MARGIN: Final = 16

Shown = tuple[float, float]
"""The time that a picture shows, Unix s."""


class Sight(msgspec.Struct, frozen=True):
    """A dashboard of a run in a theme, and the widths in which it is looked at.

    Attributes:
        uid: identity of the dashboard.
        run: the run.
        shown: the time shown.
        theme: ``dark`` or ``light``.
        pictures: file of each width in pixels.
        bare: whether Grafana's menu and the variables are left out.
    """

    uid: str
    run: str
    shown: Shown
    theme: str
    pictures: dict[int, Path]
    bare: bool = True


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


def executable_of(name: str) -> str:
    """Path of the browser ``name``.

    Raises:
        StackError: it is not there.
    """
    found = shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not on the PATH: get it with 'apt-get install chromium', or use --chromium PATH")
    return found


class Viewer:
    """A person who is logged in to Grafana."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._context = context
        self._url = url

    def take(self, sight: Sight) -> list[str]:
        """All pictures of a sight; a line for each panel that shows an error.

        Raises:
            StackError: no panel appeared, or one still loads after ``PAGE_S``.
        """
        page = self._context.new_page()
        try:
            return self._taken(page, sight)
        finally:
            page.close()

    def _taken(self, page: Page, sight: Sight) -> list[str]:
        traffic = Traffic(page)
        since_ms, until_ms = (f"{seconds * 1000:.0f}" for seconds in sight.shown)
        query = {"from": since_ms, "to": until_ms, "var-job": "esper", "var-instance": sight.run}
        query |= {"theme": sight.theme, "timezone": "utc", "refresh": NEVER}
        address = f"{self._url}/d/{sight.uid}?{urlencode(query)}{'&kiosk' if sight.bare else ''}"
        failed: list[str] = []
        for number, (width, path) in enumerate(sight.pictures.items()):
            page.set_viewport_size({"width": width, "height": HEIGHT})
            if number == 0:
                page.goto(address, wait_until="domcontentloaded")
            _settle(page, traffic)
            page.set_viewport_size({"width": width, "height": int(page.evaluate(BOTTOM)) + MARGIN})
            _settle(page, traffic)
            page.screenshot(path=path)
            failed += [f"{path.name}: a panel shows an error" for _ in range(page.locator(FAILED).count())]
            print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)", flush=True)
        return failed


@contextmanager
def viewer(chromium: str, url: str, password: str) -> Iterator[Viewer]:
    """A browser at the Grafana at ``url``, logged in as its administrator.

    Raises:
        StackError: Grafana refuses the password.
    """
    with sync_playwright() as play:
        # Without its sandbox, because the superuser, as whom containers often run, may not have one.
        arguments = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb", "--hide-scrollbars"]
        browser = play.chromium.launch(executable_path=chromium, args=arguments)
        try:
            context = browser.new_context(timezone_id="UTC", locale="en-GB", reduced_motion="reduce")
            answer = context.request.post(f"{url}/login", data={"user": "admin", "password": password})
            if not answer.ok:
                raise StackError(f"Grafana does not let admin in: {answer.status} {answer.text()[:200]}")
            yield Viewer(context, url)
        finally:
            browser.close()


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
