"""Runs that several tests look at, in one Grafana."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.browser.made_runs import ARMS, COLLAPSED
from tests.browser.series import made, prometheus_of, stretched
from tests.browser.whole_stack import Stack, whole_stack
from tests.grafana.lives import every_life_as_text
from tests.grafana.real_grafana import Grafana, grafana_on
from tests.recorded import recording
from tests.shared_run import finished_run
from tests.tools import ROOT, python_environment
from tests.waiting import PATIENCE_S

HOUR_S = 3600.0
PLAIN, RECORDED = "plain", "esper-lite"


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
        *(stretched(run, directory, began, ended) for run in _of_others(directory)),
        every_life_as_text(directory, now),
    ]
    with prometheus_of(texts, directory) as prometheus, grafana_on(prometheus, directory) as grafana:
        yield Looked(grafana, chaos)


@pytest.fixture(scope="session")
def grafana(looked: Looked) -> Grafana:
    """The Grafana alone."""
    return looked.grafana


def _of_others(directory: Path) -> list[Path]:
    """A run of a loop that knows nothing of us, and one of esper-lite."""
    plain, recorded = directory / "runs" / PLAIN, directory / "runs" / RECORDED
    loop = [str(Path(sys.executable).parent / "esper-otel"), "run", str(ROOT / "tests/browser/plain_loop.py"), "500"]
    environment = python_environment(
        ESPER_OTEL_RELAY="0", ESPER_OTEL_RUN_ID=PLAIN, ESPER_OTEL_TELEMETRY_DIR=str(directory / "runs")
    )
    subprocess.run(loop, cwd=directory, env=environment, check=True, capture_output=True, timeout=PATIENCE_S)
    recorded.mkdir()
    (recorded / "events.jsonl").write_bytes(gzip.decompress(recording("esper-lite-3env-3slot").read_bytes()))
    return [plain, recorded]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything that 'make stack' starts, with runs that it watches."""
    with whole_stack(tmp_path_factory) as found:
        yield found
