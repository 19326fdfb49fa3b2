"""Boards in Grafana's own front end, in a browser, of runs in every state of their lives."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.grafana.lives import COMMIT, LIVES, every_life
from tests.grafana.real_grafana import CONTENT, Grafana, grafana_on
from tests.grafana.substituted import built

GREY = "rgb(142, 142, 142)"
HUES = {
    "green": (115, 191, 105),
    "orange": (255, 152, 48),
    "blue": (87, 148, 242),
    "#b38600": (179, 134, 0),
    "red": (242, 73, 92),
    "dark-red": (196, 22, 42),
    "purple": (184, 119, 217),
    "#8e8e8e": (142, 142, 142),
}
"""Grafana's named colours in its dark theme."""

LOADING = '[data-testid="data-testid Panel loading bar"]'
FAILED = '[data-testid="data-testid Panel status error"]'


ITS_OWN = (
    'msg="Skipping migration: Already executed',  # of its new, empty database
    "skipped registering status sub-resource",  # of playlists
    "context canceled",  # a page was closed while it loaded
)
"""Messages that Grafana logs at every start, however it is configured."""


@pytest.fixture(scope="module")
def now() -> float:
    return float(int(time.time()))


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory, now: float) -> Iterator[Grafana]:
    directory: Path = tmp_path_factory.mktemp("browser")
    with every_life(directory, now) as prometheus, grafana_on(prometheus, directory) as found:
        yield found


def _nearest(background: str) -> str:
    """The named colour that a gradient is made of; it runs over shades of one colour."""
    shades = [tuple(map(int, one)) for one in re.findall(r"rgb\((\d+), (\d+), (\d+)\)", background)]
    middle = tuple(sum(parts) / len(shades) for parts in zip(*shades, strict=True))
    return min(HUES, key=lambda name: sum((a - b) ** 2 for a, b in zip(HUES[name], middle, strict=True)))


@pytest.mark.parametrize("run", ["running", "finished", "killed", "died", "resumed", "backfilled"])
def test_the_state_of_a_run_is_drawn(grafana: Grafana, run: str) -> None:
    found = grafana.number("esper-run", "State", run)

    assert (LIVES[run].word, LIVES[run].colour) == (found["text"], _nearest(found["background"]))


def test_a_run_that_does_not_exist_is_drawn_grey(grafana: Grafana) -> None:
    found = grafana.number("esper-run", "State", "nobody")

    assert ("no such run", "#8e8e8e") == (found["text"], _nearest(found["background"]))


@pytest.mark.parametrize("title", ["Anomalies since the run began", "Last event", "Throughput"])
def test_a_number_of_a_run_that_does_not_exist_is_drawn_as_a_grey_word(grafana: Grafana, title: str) -> None:
    found = grafana.number("esper-run", title, "nobody")

    assert ("not measured", GREY) == (found["text"], found["colour"])


def test_a_verdict_that_nobody_gives_is_drawn_grey(grafana: Grafana) -> None:
    found = grafana.number("esper-run", "Verdict", "running")

    assert "no verdict: the run is over, or no rules are evaluated" == found["text"]
    assert "#8e8e8e" == _nearest(found["background"])


def test_an_empty_chart_names_causes_and_asserts_no_health(grafana: Grafana) -> None:
    page = grafana.solo("esper-simic", "Detections", "nobody")

    page.wait_for_selector(f"{CONTENT} :text('No data')")
    assert "nothing was detected – or Prometheus has nothing of this run" in page.inner_text(CONTENT)


def _runs(grafana: Grafana) -> dict[str, dict[str, str]]:
    """The table of runs as it is drawn: text by column, of each run."""
    page = grafana.solo("esper-runs", "Runs of the last 30 days", "", size=(3200, 900))
    page.wait_for_selector("a:text-is('killed')")
    header, *rows = [text.split("\n") for text in page.locator("[role=row]").all_inner_texts()]
    page.close()
    return {cells[0]: dict(zip(header, cells, strict=False)) for cells in rows}


def test_the_table_of_runs_has_every_run_with_its_state(grafana: Grafana) -> None:
    found = _runs(grafana)

    assert {name: life.word for name, life in LIVES.items()} == {name: cells["state"] for name, cells in found.items()}


def test_a_run_without_arms_has_no_group_in_the_table_of_runs(grafana: Grafana) -> None:
    assert {"–"} == {cells["group"] for cells in _runs(grafana).values()}


def test_the_end_of_a_run_is_a_time_in_the_table_of_runs_once_it_is_over(grafana: Grafana, now: float) -> None:
    over = {name for name, life in LIVES.items() if life.word not in {"running", "stalled", "end unknown"}}
    ends = {name: cells["ended"] for name, cells in _runs(grafana).items()}

    assert over == {name for name, end in ends.items() if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", end)}
    assert {"–"} == {end for name, end in ends.items() if name not in over}


def test_the_end_of_a_run_is_drawn_as_a_time_and_that_of_a_run_that_goes_on_as_a_grey_word(grafana: Grafana) -> None:
    over, alive = (grafana.number("esper-run", "Ended", run) for run in ("killed", "running"))

    assert re.search(r"\d\d:\d\d:\d\d$", over["text"])
    assert ("no end known", GREY) == (alive["text"], alive["colour"])


def test_the_table_of_runs_says_what_each_began_with(grafana: Grafana) -> None:
    shown = _runs(grafana)

    seeds = {name: str(number) for number, name in enumerate(LIVES)}
    assert seeds == {name: cells.get("seed") for name, cells in shown.items()}
    assert {COMMIT[:8]} == {cells.get("commit") for cells in shown.values()}
    assert {"0.001", "0.003"} == {cells.get("learning rate") for cells in shown.values()}


def test_runs_that_differ_in_their_seed_are_one_line(grafana: Grafana) -> None:
    page = grafana.solo("esper-runs", "Accuracy, mean of the last rounds, by configuration", "", size=(1200, 500))

    page.wait_for_selector("text=0.003")
    legend = [text for text in page.inner_text(CONTENT).split("\n") if " · " in text]
    rates = ("0.001", "0.003")
    assert [f"digits · shaped · 4 · {rate} · 0.2 · 0.01 · 0.99" for rate in rates] == sorted(legend)


def test_a_run_is_opened_in_its_own_time(grafana: Grafana, now: float) -> None:
    page = grafana.solo("esper-runs", "Runs of the last 30 days", "", size=(1600, 900))

    page.wait_for_selector("a:text-is('killed')")
    asked = {
        name: dict(parse_qsl(urlsplit(page.get_attribute(f"a:text-is('{name}')", "href") or "").query, True))
        for name in ("killed", "running")
    }
    over = {
        "var-instance": "killed",
        "from": f"{now - 1500:.0f}000",
        "to": f"{now - 480 + 120:.0f}000",
        "refresh": "1d",
    }
    assert over == asked["killed"]
    living = {"var-instance": "running", "from": f"{now - 600:.0f}000", "to": "now", "refresh": "15s"}
    assert living == asked["running"]


def test_grafana_starts_without_an_error_or_a_warning_of_ours(grafana: Grafana) -> None:
    lines = grafana.log.read_text(encoding="utf-8").splitlines()
    bad = [line for line in lines if re.search(r"level=(warn|error)", line)]

    assert [] == [line for line in bad if not any(explained in line for explained in ITS_OWN)]


def test_the_newest_run_is_shown_first(grafana: Grafana) -> None:
    page = grafana.context.new_page()
    page.goto(f"{grafana.url}/d/esper-run")

    page.wait_for_selector(f"{CONTENT} :text-is('running')")
    assert "var-instance=running" in page.url


@pytest.mark.parametrize("uid", sorted(built()))
def test_a_board_asks_no_source_that_is_not_there(grafana: Grafana, uid: str) -> None:
    page = grafana.context.new_page()
    page.set_viewport_size({"width": 1600, "height": 6000})
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)

    page.goto(f"{grafana.url}/d/{uid}?var-instance=running&kiosk")
    page.wait_for_selector(CONTENT)
    page.wait_for_function(f"() => !document.querySelector({LOADING!r})")
    page.wait_for_load_state("networkidle")

    assert [] == failed
    assert 0 == page.locator(FAILED).count()
    page.close()
