"""A stored state that does not fit this version is dropped, and everything is counted anew from the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esper_otel.events import PolicyUpdate
from esper_otel.log.writer import Writer
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics.families import Family
from esper_otel.relay.metrics.pipeline import MetricsPipeline
from tests.relay.processes import environment, events_by_type, process, scrape, wait_for
from tests.waiting import PATIENCE_S

Stored = dict[str, Any]


def opened(run: Path, directory: StateDirectory | None) -> MetricsPipeline:
    return MetricsPipeline(
        run, run_id="run", follow=True, directory=directory, liveness=Liveness(None, stall_after_s=300.0)
    )


def counted(run: Path, directory: StateDirectory | None) -> list[Family]:
    metrics = opened(run, directory)
    while metrics.step():
        pass
    families = metrics.collect(0)
    metrics.close()
    return families


def histograms(stored: Stored) -> list[list[Any]]:
    return [entry for points in stored["state"]["sums"]["histograms"].values() for entry in points]


def counters(stored: Stored) -> list[list[Any]]:
    return [entry for points in stored["state"]["sums"]["counters"].values() for entry in points]


def fewer_buckets(stored: Stored) -> None:
    for _, point in histograms(stored):
        point["counts"].pop()


def more_buckets(stored: Stored) -> None:
    for _, point in histograms(stored):
        point["counts"] += [0, 0]


def fewer_attributes(stored: Stored) -> None:
    for entry in counters(stored):
        entry[0].pop()


def more_attributes(stored: Stored) -> None:
    for entry in counters(stored):
        entry[0].append("x")


def more_attributes_of_a_last_value(stored: Stored) -> None:
    for points in stored["state"]["own"].values():
        for entry in points:
            entry[0].append("x")


def other_bounds_of_the_same_number(stored: Stored) -> None:
    stored["metrics"] = dict.fromkeys(stored["metrics"], "0" * 12)


def a_metric_that_is_gone(stored: Stored) -> None:
    stored["state"]["sums"]["counters"]["tamiyo.gone"] = [[["a"], 1.0]]


def no_fingerprints(stored: Stored) -> None:
    del stored["metrics"]


def no_positions(stored: Stored) -> None:
    del stored["positions"]


def positions_of_another_kind(stored: Stored) -> None:
    stored["positions"] = {"events.jsonl": 5}


def a_part_that_is_missing(stored: Stored) -> None:
    del stored["state"]["sums"]["totals"]


def another_version(stored: Stored) -> None:
    stored["version"] = 2


@pytest.mark.parametrize(
    "damage",
    [
        fewer_buckets,
        more_buckets,
        fewer_attributes,
        more_attributes,
        more_attributes_of_a_last_value,
        other_bounds_of_the_same_number,
        a_metric_that_is_gone,
        no_fingerprints,
        no_positions,
        positions_of_another_kind,
        a_part_that_is_missing,
        another_version,
    ],
)
def test_a_state_that_does_not_fit_is_made_anew(tmp_path: Path, damage: Callable[[Stored], None]) -> None:
    run = _run_of(tmp_path, updates=100)
    right = counted(run, None)
    directory = StateDirectory(tmp_path / "state")
    counted(run, directory)
    path = directory.path / "metrics.json"
    stored = json.loads(path.read_text())
    damage(stored)
    path.write_text(json.dumps(stored))

    assert counted(run, directory) == right
    directory.close()


def test_a_state_that_fits_is_gone_on_with(tmp_path: Path) -> None:
    run = _run_of(tmp_path, updates=100)
    directory = StateDirectory(tmp_path / "state")
    right = counted(run, directory)
    again = opened(run, directory)
    assert again.step() == 0
    assert again.collect(0) == right
    again.close()
    directory.close()


def test_a_long_log_is_read_to_its_end_before_anything_is_served(tmp_path: Path) -> None:
    updates = 60_000
    run = _run_of(tmp_path, updates=updates)
    (run / "run.json").write_text('{"run_id": "run", "status": "running"}')
    with process("-m", "esper_otel.relay", str(run), "--follow", "--linger", "0") as server:
        text = wait_for(lambda: _first_scrape(run), "a scrape that answers")
        server.terminate()
        server.communicate(timeout=PATIENCE_S)
    assert events_by_type(text)["TAMIYO_POLICY_UPDATE"] == updates


def _first_scrape(run: Path) -> str:
    entry = json.loads((run / "run.json").read_text()).get("relay")
    return scrape(entry["prometheus_url"]) if entry else ""


def _run_of(tmp_path: Path, updates: int) -> Path:
    run = tmp_path / "run"
    writer = Writer(run, "run", heartbeat_s=0)
    for number in range(updates):
        writer.put((PolicyUpdate(ppo_update_idx=number, pre_clip_grad_norm=3.2), time.time_ns(), "default", None, None))
        if number % 1_000 == 999:
            time.sleep(0.02)
    writer.close(timeout_s=30.0)
    assert writer.written_events == updates, environment()
    return run
