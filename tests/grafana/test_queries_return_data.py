"""Every query of every panel, asked of a real Prometheus that scraped real runs while they went on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from grafana.boards import BOARDS
from tests.grafana.scraped_run import ScrapedRun, scraped_recording, scraped_training
from tests.grafana.substituted import lines, targets
from tests.recorded import recording
from tests.tools import tool

ROUNDS = {"demo": "2", "chaos": "5"}
UNDELIVERED = "esper-esper/Log that waits/B"
"""There is an OTLP endpoint in no run of these tests."""

BAD_LAYERS = "esper-tolaria/Since the run began/C"
"""No producer of these tests has the sensor that looks at layers."""

COMMITS_OF_RUNS = "esper-runs/Runs of the last 30 days/O"
"""A recording of esper-lite has no run.json, and so no commit."""

ALERTS_OF_RUNS = "esper-runs/Runs of the last 30 days/K"
"""The Prometheus of these tests has no rules."""

ENDS_OF_RUNS = "esper-runs/Runs of the last 30 days/C"
"""A recording of esper-lite does not tell its end."""

NEVER_FED = {
    "trainer": {UNDELIVERED, ALERTS_OF_RUNS, BAD_LAYERS, "esper-tamiyo/Losses/D"},
    "esper-lite": {
        UNDELIVERED,
        COMMITS_OF_RUNS,
        ENDS_OF_RUNS,
        ALERTS_OF_RUNS,
        BAD_LAYERS,
        "esper-esper/Age of the newest …/A",
        "esper-tamiyo/Entropy and learning rate/B",
        "esper-tamiyo/Gradient norm before and after clipping/A",
        "esper-tamiyo/Gradient norm before and after clipping/D",
        "esper-tamiyo/Heads now/D",
        "esper-tamiyo/Heads now/F",
        "esper-tamiyo/Freedom and confidence/D",
        "esper-tamiyo/Freedom and confidence/E",
        "esper-tamiyo/KL divergence/B",
        "esper-tamiyo/KL divergence/C",
        "esper-tamiyo/Layers and entries/F",
        "esper-tamiyo/Losses/C",
        "esper-tamiyo/Predicted values/E",
        "esper-tolaria/Training against validation/A",
        *(f"esper-tolaria/Environments/{column}" for column in "FIKL"),
        "esper-kasmina/Blueprints/B",
        "esper-kasmina/Blueprints/D",
        "esper-kasmina/Blueprints/F",
        "esper-kasmina/Seeds that are born, kept and removed, each second/B",
        "esper-simic/Groups side by side/G",
        "esper-run/Trends that were detected/A",
        "esper-tolaria/Trends since the run began/A",
        "esper-tamiyo/Inputs that were not finite/C",
    },
}
"""Lines that a producer has no field for; their panels show other lines then. The trainer has no Q head; the largest
norm of the last minute is that of the recording's own time, which is long ago. No seed of the recording was kept for
good or measured, no improvement and no underflow occurred, and esper-lite's counters begin with the first event."""

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


def test_every_line_has_data_but_those_that_this_producer_never_feeds(scraped: ScrapedRun) -> None:
    silent = {one.where for one in lines() if not scraped.series(one)}
    expected = {one.where for one in lines() if PANELS[one.uid, one.panel].empty is not None}

    assert [] == sorted(silent - expected - NEVER_FED[scraped.producer])


def test_a_panel_that_joins_its_lines_to_one_query_has_them_all(scraped: ScrapedRun) -> None:
    alone, together = (
        Counter((one.uid, one.panel) for one in asked for _ in scraped.series(one))
        for asked in (lines(), targets("prometheus"))
    )

    assert alone == together


def test_every_result_has_the_labels_of_its_legend(scraped: ScrapedRun) -> None:
    without = [
        (one.where, label)
        for one in targets("prometheus")
        for series in scraped.series(one)
        for label in re.findall(r"{{\s*(\w+)\s*}}", one.legend)
        if label not in series["metric"]
    ]

    assert [] == sorted(set(without))
