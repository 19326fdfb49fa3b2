"""Runs that several tests look at, in one Grafana."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.browser.made_runs import ARMS, COLLAPSED
from tests.browser.series import made, prometheus_of, stretched
from tests.grafana.lives import every_life_as_text
from tests.grafana.real_grafana import Grafana, grafana_on
from tests.shared_run import finished_run

HOUR_S = 3600.0


class Looked(msgspec.Struct, frozen=True):
    """A Grafana, and the directory of the run ``chaos`` that it shows."""

    grafana: Grafana
    chaos: Path


@pytest.fixture(scope="session")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """Two real runs that ended 20 minutes ago after three hours, as their clock is stretched, and made ones."""
    directory: Path = tmp_path_factory.mktemp("looked")
    now = float(int(time.time()))
    ended, began = now - HOUR_S / 3, now - HOUR_S * 10 / 3
    chaos = finished_run(tmp_path_factory, "--recipe", "chaos", run_id="chaos")
    demo = finished_run(tmp_path_factory, "--recipe", "demo", run_id="demo")
    texts = [
        *(stretched(run, directory, began, ended) for run in (chaos, demo)),
        made(directory, "arms", ARMS, now - HOUR_S, now + HOUR_S),
        made(directory, "collapsed", COLLAPSED, now - HOUR_S, now + HOUR_S),
        every_life_as_text(directory, now),
    ]
    with prometheus_of(texts, directory) as prometheus, grafana_on(prometheus, directory) as grafana:
        yield Looked(grafana, chaos)


@pytest.fixture(scope="session")
def grafana(looked: Looked) -> Grafana:
    """The Grafana alone."""
    return looked.grafana
