"""One exploding update in an unchanged program fires in a real Prometheus, wherever it falls: ``make frameworks``.

Programs run as they are under autolog; from outside one gradient is made a thousand times as large before it is
clipped. Many runs go on at once, each with its relay, and one server scrapes them all every second and evaluates the
committed rules.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esper_otel.alerts.promql import metric
from esper_otel.sensors.updating.recent import UNJUDGED
from tests.alerts.alerting import prometheus_with_rules
from tests.automatic.program_runs import environment
from tests.frameworks.campaign import HERE, PACKAGES, installed
from tests.frameworks.ledger import Exploded, keep
from tests.prometheus.real_prometheus import Prometheus
from tests.waiting import PATIENCE_S

__all__ = ["installed"]

RUNS = 100
AT_ONCE = 25
FACTOR = 1000
RUN_S = 15.0
"""How long a run's updates take together: some fifteen scrapes."""

ALERT = 'ALERTS{alertname="TolariaGradNormExploded", alertstate="firing"}'
FIRED = f"max by (instance) (max_over_time({ALERT}[2h]))"
EXPLOSIONS = metric("tolaria.update.grad_norm_violations", severity="critical")

CASES = {
    "PPO in one file, as CleanRL's": ("cleanrl_ppo.py", (), 64),
    "Stable-Baselines3 PPO": ("sb3.py", ("512",), 32),
}
"""Program, its arguments after the file for its own account, and its updates."""


def trained(directory: Path, gate: Path, name: str, placements: dict[str, int]) -> None:
    program, arguments, updates = CASES[name]
    given = (directory / "telemetry", FACTOR, RUN_S / updates, gate, HERE / "programs" / program)
    done = subprocess.run(
        [sys.executable, str(HERE / "programs" / "served.py"), *map(str, given), *arguments],
        input="".join(f"{run} {placement}\n" for run, placement in placements.items()),
        env=environment(directory, PYTHONPATH=str(PACKAGES), OTEL_EXPORTER_PROMETHEUS_PORT="0"),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr


def updates_of(run: Path) -> int:
    lines = (json.loads(line) for line in (run / "events.jsonl").read_text().splitlines())
    return sum(line["event_type"] == "TOLARIA_TRAINING_UPDATE" for line in lines)


def instances(prometheus: Prometheus, expression: str) -> set[str]:
    return {series["metric"]["instance"] for series in prometheus.query(expression)}


@pytest.mark.parametrize("name", CASES)
def test_one_exploding_update_of_an_unchanged_program_fires_at_a_hundred_of_a_hundred_placements(
    name: str, tmp_path: Path
) -> None:
    _, _, count = CASES[name]
    chance, began = random.Random(7), time.time()
    placements = {f"r{number}": chance.randint(UNJUDGED + 1, count) for number in range(RUNS)}
    telemetry = tmp_path / "telemetry"
    telemetry.mkdir()
    with prometheus_with_rules(telemetry / "prometheus_targets.json", "127.0.0.1:9", tmp_path) as prometheus:
        for start in range(0, RUNS, AT_ONCE):
            batch = {f"healthy{start}": 0, **dict(list(placements.items())[start : start + AT_ONCE])}
            gate = tmp_path / f"scraped{start}"
            with prometheus.opening(gate, targets=len(batch)):
                trained(tmp_path, gate, name, batch)
        runs = {run.name for run in telemetry.iterdir() if (run / "run.json").exists() and not run.is_symlink()}
        healthy = {run for run in runs if run.startswith("healthy")}
        assert {updates_of(telemetry / run) for run in runs} == {count}
        prometheus.wait_for(f"max(timestamp({ALERT})) > {time.time()}")  # the rules saw the last scrapes
        fired = instances(prometheus, FIRED)
        seen_before = instances(prometheus, f"min_over_time({EXPLOSIONS}[2h]) == 0")
    keep(
        Exploded(
            name=name,
            runs=RUNS,
            fired=len(fired - healthy),
            healthy=len(healthy),
            healthy_fired=len(fired & healthy),
            seconds=time.time() - began,
            between_scrapes=len(seen_before - healthy),
        )
    )

    assert fired & healthy == set()
    assert {run: placements[run] for run in set(placements) - fired} == {}
