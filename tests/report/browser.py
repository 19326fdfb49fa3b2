"""A report opened in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.tools import tool

_EVERY_CHART = "[...document.querySelectorAll('.chart')].map(chart => {}).flat()"
_MARKS = "chart.querySelectorAll('.trace path, .trace .point, .bars path, .fills path').length"
_REFUSED = "(Plotly.validate(chart.data, chart.layout) || []).map(problem => problem.msg)"


class Opened(msgspec.Struct):
    """A page with what the browser had to say about it."""

    page: Page
    console: list[str]
    requests: list[str]

    def scroll_through(self) -> None:
        """Bring every chart to the screen once, since each is drawn when it comes near."""
        for chart in self.page.query_selector_all(".chart"):
            chart.scroll_into_view_if_needed()
            self.page.wait_for_function("chart => chart.classList.contains('js-plotly-plot')", arg=chart)
        self.page.wait_for_timeout(100)

    def marks(self) -> list[int]:
        """How many shapes each chart has drawn."""
        return list(self.page.evaluate(_EVERY_CHART.format(_MARKS)))

    def refused(self) -> list[str]:
        """What Plotly itself finds wrong with the figures."""
        return list(self.page.evaluate(_EVERY_CHART.format(_REFUSED)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=tool("chromium"), args=["--no-sandbox"])
        yield program
        program.close()


@contextmanager
def opened(browser: Browser, path: Path, scheme: str = "light", width: int = 1366) -> Iterator[Opened]:
    """The file at ``path`` as a person opens it, without a server."""
    page = browser.new_page(viewport={"width": width, "height": 768}, color_scheme=scheme)  # type: ignore[arg-type]
    found = Opened(page, [], [])
    page.on("console", lambda message: found.console.append(message.text))
    page.on("pageerror", lambda error: found.console.append(str(error)))
    page.on("dialog", lambda dialog: found.console.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.as_uri())
    try:
        yield found
    finally:
        page.close()
