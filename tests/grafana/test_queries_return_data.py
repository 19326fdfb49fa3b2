"""Every query of every panel, asked of a real Prometheus that scraped real runs while they went on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from grafana.boards import BOARDS
from tests.grafana.scraped_run import ScrapedRun, scraped_recording, scraped_training
from tests.grafana.substituted import targets
from tests.recorded import recording
from tests.tools import tool

ROUNDS = {"demo": "2", "chaos": "5"}
UNDELIVERED = "esper-esper/Log that waits/B"
"""There is an OTLP endpoint in no run of these tests."""

NEVER_FED = {
    "trainer": {UNDELIVERED, "esper-run/Verdict/H", "esper-tamiyo/Losses/D"},
    "esper-lite": {
        UNDELIVERED,
        "esper-esper/Age of the newest …/A",
        "esper-tamiyo/Entropy and learning rate/B",
        "esper-tamiyo/Gradient norm before and after clipping/A",
        "esper-tamiyo/Gradient norm before and after clipping/D",
        "esper-tamiyo/Heads now/D",
        "esper-tamiyo/Heads now/F",
        "esper-tamiyo/How free and how sure the choices are/D",
        "esper-tamiyo/How free and how sure the choices are/E",
        "esper-tamiyo/KL divergence/B",
        "esper-tamiyo/KL divergence/C",
        "esper-tamiyo/Layers and entries/F",
        "esper-tamiyo/Losses/C",
        "esper-tamiyo/Predicted values/E",
        "esper-tolaria/Training against validation/A",
        *(f"esper-tolaria/Environments/{column}" for column in "FIKL"),
        "esper-kasmina/Blueprints/B",
    },
}
"""Queries that a producer has no field for; their panels show other lines then. The trainer has no Q head; the largest
norm of the last minute is that of the recording's own time, which is long ago.
No seed of the recording was kept for good."""

PANELS = {(board.uid, panel.title): panel for board in BOARDS for panel in board.panels}


@pytest.fixture(scope="module", params=["demo", "chaos", "esper-lite"])
def scraped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScrapedRun]:
    """A healthy run, one that is broken on purpose, and a recording of esper-lite."""
    tool("prometheus")
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "esper-lite":
        with scraped_recording(directory, recording("esper-lite-3env-3slot")) as run:
            yield run
    else:
        with scraped_training(directory, "--recipe", request.param, "--rounds", ROUNDS[request.param]) as run:
            yield run


def test_every_panel_has_data_or_says_why_it_may_have_none(scraped: ScrapedRun) -> None:
    found = {(one.uid, one.panel) for one in targets("prometheus") if scraped.series(one)}
    asked = {(one.uid, one.panel) for one in targets("prometheus")}

    assert [] == sorted(key for key in asked - found if PANELS[key].empty is None)


def test_every_query_has_data_but_those_that_this_producer_never_feeds(scraped: ScrapedRun) -> None:
    silent = {one.where for one in targets("prometheus") if not scraped.series(one)}
    expected = {one.where for one in targets("prometheus") if PANELS[one.uid, one.panel].empty is not None}

    assert [] == sorted(silent - expected - NEVER_FED[scraped.producer])


def test_every_result_has_the_labels_of_its_legend(scraped: ScrapedRun) -> None:
    without = [
        (one.where, label)
        for one in targets("prometheus")
        for series in scraped.series(one)
        for label in re.findall(r"{{\s*(\w+)\s*}}", one.legend)
        if label not in series["metric"]
    ]

    assert [] == sorted(set(without))
