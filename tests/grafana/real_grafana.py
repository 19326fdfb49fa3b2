"""Grafana's own server and front end over a Prometheus of a test, looked at with a browser."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from deploy.stack.layout import Layout
from deploy.stack.program import Ports, Settings
from deploy.stack.running import running
from deploy.stack.stores import PASSWORD_FILE, grafana
from tests.grafana.drawn import panel
from tests.prometheus.real_prometheus import Prometheus
from tests.tools import tool
from tests.waiting import PATIENCE_S

ALL = {"var-job": "$__all", "var-group_id": "$__all", "var-rank": "$__all", "var-env_id": "$__all"}
CONTENT = "[data-testid='data-testid panel content']"
LARGEST_TEXT = """content => {
    const size = one => parseFloat(getComputedStyle(one).fontSize);
    const texts = [...content.querySelectorAll('span')].filter(one => one.innerText && !one.querySelector('span'));
    const text = texts.sort((one, other) => size(other) - size(one))[0];
    const box = content.querySelector('[style*="background"]');
    const behind = box ? getComputedStyle(box) : null;
    return {
        text: text.innerText,
        colour: getComputedStyle(text).color,
        background: behind ? `${behind.backgroundImage} ${behind.backgroundColor}` : '',
    };
}"""
"""The number of a panel as it is drawn: its words, their colour, the colours behind them."""


class Grafana(msgspec.Struct):
    """A running Grafana, a browser that is logged in, and the file with what Grafana says."""

    url: str
    context: BrowserContext
    log: Path

    def solo(self, uid: str, title: str, run: str, size: tuple[int, int] = (900, 400), since: str = "now-1h") -> Page:
        """One panel alone on a page, drawn."""
        shown = {**ALL, "var-instance": run, "from": since, "to": "now", "theme": "dark", "timezone": "utc"}
        page = self.context.new_page()
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.goto(f"{self.url}/d-solo/{uid}?{urlencode({**shown, 'panelId': panel(uid, title)['id']})}")
        page.wait_for_selector(CONTENT)
        return page

    def number(self, uid: str, title: str, run: str) -> dict[str, str]:
        """Text, colour and background of the number on a panel."""
        page = self.solo(uid, title, run)
        try:
            page.wait_for_selector(f"{CONTENT} span")
            found: dict[str, str] = page.eval_on_selector(CONTENT, LARGEST_TEXT)
            return found
        finally:
            page.close()


@contextmanager
def grafana_on(prometheus: Prometheus, directory: Path) -> Iterator[Grafana]:
    """Grafana with the repository's dashboards and ``prometheus`` as their data source."""
    program = tool("grafana")
    port = urlsplit(prometheus._url).port
    assert port is not None
    settings = Settings(telemetry_dir=directory, data_dir=directory / "grafana")
    ports = {"prometheus": port, "grafana": Ports(standard=False).take(3000)}
    at = Layout(settings=settings, executables={"grafana": program}, ports=ports)
    with running([grafana(at)], directory / "logs"), looked_at(at, directory / "logs") as found:
        yield found


@contextmanager
def looked_at(at: Layout, logs: Path) -> Iterator[Grafana]:
    """The Grafana of a running stack, with a browser that is logged in."""
    browser: Browser = _playwright().chromium.launch(executable_path=tool("chromium"), args=["--no-sandbox"])
    try:
        context = browser.new_context(viewport={"width": 900, "height": 400}, timezone_id="UTC", locale="en-GB")
        context.set_default_timeout(PATIENCE_S * 1000)
        password = at.data(PASSWORD_FILE).read_text(encoding="utf-8").strip()
        answer = context.request.post(f"{at.url('grafana')}/login", data={"user": "admin", "password": password})
        assert answer.ok, answer.text()
        yield Grafana(at.url("grafana"), context, logs / "grafana.log")
    finally:
        browser.close()


@cache
def _playwright() -> Playwright:
    """The one that a process can have at a time, until its end."""
    started = sync_playwright().start()
    atexit.register(started.stop)
    return started
