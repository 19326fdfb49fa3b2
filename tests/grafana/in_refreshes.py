"""Boards ask again while a run goes on, and not once it is over: in Grafana's own front end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from grafana.layout.board import NEVER, REFRESH
from tests.grafana.lives import every_life
from tests.grafana.real_grafana import CONTENT, Grafana, grafana_on
from tests.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grafana]:
    directory: Path = tmp_path_factory.mktemp("refreshes")
    with every_life(directory, float(int(time.time()))) as prometheus, grafana_on(prometheus, directory) as found:
        yield found


def _opened(grafana: Grafana, run: str) -> Page:
    """The board of a run, opened as from the table of runs."""
    table = grafana.solo("esper-runs", "Runs of the last 30 days", "", size=(1600, 900))
    table.wait_for_selector(f"a:text-is('{run}')")
    link = table.get_attribute(f"a:text-is('{run}')", "href")
    table.close()
    page = grafana.context.new_page()
    page.goto(f"{grafana.url}{link}&kiosk")
    page.wait_for_selector(CONTENT)
    return page


def test_the_board_of_a_run_that_goes_on_asks_again(grafana: Grafana) -> None:
    page = _opened(grafana, "running")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "ds/query" in request.url else None)

    page.wait_for_load_state("networkidle")
    before = len(asked)
    page.wait_for_event("request", lambda request: "ds/query" in request.url, timeout=1e3 * PATIENCE_S)

    assert f"refresh={REFRESH}" in page.url
    assert len(asked) > before
    page.close()


def test_the_board_of_a_run_that_is_over_is_set_to_ask_no_more(grafana: Grafana) -> None:
    page = _opened(grafana, "killed")

    page.wait_for_url(f"**refresh={NEVER}**", timeout=1e3 * PATIENCE_S)
    page.close()
