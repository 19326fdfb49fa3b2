"""Rows of the real Tempo and Loki: the newest, in order, also of a run that was replayed later."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from itertools import pairwise

import pytest
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.browser.whole_stack import MANY, REPLAYED, ROUNDS, Stack
from tests.grafana.in_browser import LOADING
from tests.grafana.real_grafana import CONTENT
from tests.grafana.substituted import built, panels_of
from tests.waiting import wait_for

SHOWN = 50
TALL = (2400, 3600)
ROWS = "[role=row]"
DRAWN = f"() => !document.querySelector({LOADING!r}) && document.querySelectorAll({ROWS!r}).length > 1"
ASKED_AGAIN_MS = 15_000
"""How long one answer is waited for before the panel is opened anew, ms: Tempo finds old spans minutes later."""
ROUND = '[title="esper::simic.round"]'
SINCE = {MANY: "now-1h", REPLAYED: "now-2d"}


def _table(stack: Stack, uid: str, title: str, run: str) -> list[dict[str, str]]:
    """Cells by the name of their column, of every row, once there is one."""
    return wait_for(lambda: _rows(stack, uid, title, run), f"rows of {title}")


def _rows(stack: Stack, uid: str, title: str, run: str) -> list[dict[str, str]]:
    page = stack.grafana.solo(uid, title, run, size=TALL, since=SINCE[run])
    try:
        with suppress(PlaywrightTimeout):
            page.wait_for_function(DRAWN, timeout=ASKED_AGAIN_MS)
        shown = [one.locator("> *").all_inner_texts() for one in page.locator(ROWS).all()]
        return [dict(zip(map(str.strip, shown[0]), row, strict=False)) for row in shown[1:]] if shown else []
    finally:
        page.close()


def _numbers(rows: list[dict[str, str]], column: str) -> list[int]:
    return [int(row[column]) for row in rows]


def test_the_newest_fifty_rounds_are_shown_newest_first(stack: Stack) -> None:
    found = _numbers(_table(stack, "esper-run", "Newest 50 rounds", MANY), "round")

    assert list(range(ROUNDS, ROUNDS - SHOWN, -1)) == found


@pytest.mark.parametrize("title", ["Newest 50 rounds", "Newest 50 rounds with an anomaly"])
def test_the_newest_rounds_of_a_run_that_was_replayed_later_are_found(stack: Stack, title: str) -> None:
    found = _numbers(_table(stack, "esper-run", title, REPLAYED), "round")

    assert list(range(ROUNDS, ROUNDS - SHOWN, -1)) == found


@pytest.mark.parametrize("run", [MANY, REPLAYED])
def test_the_newest_lives_of_seeds_are_shown_newest_first(stack: Stack, run: str) -> None:
    (title,) = (
        one["title"]
        for one in panels_of(built()["esper-kasmina"])
        if any("kasmina.seed" in target.get("query", "") for target in one["targets"])
    )
    rows = _table(stack, "esper-kasmina", title, run)

    assert SHOWN == len(rows)
    assert max(_numbers(rows, "round")) >= ROUNDS - 1
    assert sorted((row["start"] for row in rows), reverse=True) == [row["start"] for row in rows]


TABLES = [
    (uid, panel["title"])
    for uid, board in built().items()
    for panel in panels_of(board)
    if panel["type"] == "table" and panel["targets"][0]["datasource"]["type"] == "loki"
]


@pytest.mark.parametrize(("uid", "title"), TABLES)
def test_the_rows_of_a_table_of_events_are_newest_first_without_long_identifiers(
    stack: Stack, uid: str, title: str
) -> None:
    rows = _table(stack, uid, title, REPLAYED)

    assert sorted((row["Time"] for row in rows), reverse=True) == [row["Time"] for row in rows]
    assert not [cell for row in rows for cell in row.values() if re.search(r"[0-9a-f]{32}|^[{[]", cell)]


def _moments(page: Page) -> list[datetime]:
    found = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", page.inner_text(CONTENT))
    return [datetime.fromisoformat(one) for one in found]


def test_the_event_log_shows_the_whole_run_and_not_its_last_seconds(stack: Stack) -> None:
    page = stack.grafana.solo("esper-run", "Event log", MANY, size=TALL)
    page.wait_for_selector(f"{CONTENT} :text('tolaria.batch_completed')")
    found = _moments(page)

    heard = f'esper_relay_last_record_timestamp_seconds{{instance="{MANY}"}}'
    length = stack.prometheus.number(f"max(max_over_time({heard}[1h]) - min_over_time({heard}[1h]))")
    assert (max(found) - min(found)).total_seconds() > length / 4
    assert all(one >= other for one, other in pairwise(found))


def test_an_exemplar_leads_to_its_trace_its_log_events_and_back(stack: Stack) -> None:
    page = stack.grafana.solo("esper-tamiyo", "Time of an update", MANY, size=(1600, 900))
    page.locator('[data-testid="data-testid Exemplar marker"]').last.click(force=True)
    address = page.locator("a[href*=explore]").first.get_attribute("href") or ""
    page.goto(address if address.startswith("http") else f"{stack.grafana.url}{address}")
    page.locator(ROUND).first.click()
    page.get_by_role("button", name="Links").first.click()
    page.get_by_role("menuitem", name="Logs for this span").click()
    page.get_by_text(re.compile("tolaria.batch_completed batch_idx=")).last.click()
    page.get_by_text("Trace of this round").first.click()

    page.wait_for_function(f"() => document.querySelectorAll({ROUND!r}).length === 2")
    page.close()
