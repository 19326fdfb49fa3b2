"""One exploding update in an unchanged program fires, wherever it falls: part of ``make frameworks``.

Programs run as they are under autolog; from outside one gradient is made a thousand times as large before it is
clipped. The relay's own accounting makes the series of their logs, scraped every few updates, and Prometheus's rule
engine evaluates the committed rules over them.
"""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from esper_otel.alerts.promql import metric
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.state import MetricState
from esper_otel.sensors.updating.recent import UNJUDGED
from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.automatic.program_runs import PROGRAMS, environment
from tests.frameworks.campaign import HERE, PACKAGES, installed
from tests.tools import ROOT
from tests.waiting import PATIENCE_S

__all__ = ["installed"]

RUNS = 100
FACTOR = 1000
ALERT = "TolariaGradNormExploded"
COUNTER = "tolaria.update.grad_norm_violations"
SCRAPE_EVERY = 7
"""Updates between two scrapes, 15 s in the rule engine's time."""

CASES = {
    "PPO in one file, as CleanRL's": (PROGRAMS / "ppo.py", (), 64),
    "Stable-Baselines3's PPO": (HERE / "programs" / "sb3.py", ("512",), 32),
}
"""Program, its arguments after the file for its own account, and its updates."""

Samples = dict[tuple[str, str, str], list[int]]


def trained(directory: Path, program: Path, arguments: tuple[str, ...], placements: dict[str, int]) -> None:
    script = [str(HERE / "programs" / "served.py"), str(directory / "telemetry"), str(FACTOR), str(program)]
    done = subprocess.run(
        [sys.executable, *script, str(directory / "own.json"), *arguments],
        input="".join(f"{run} {placement}\n" for run, placement in placements.items()),
        env=environment(directory, PYTHONPATH=str(PACKAGES)),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr


def scraped(run: Path) -> tuple[int, Samples]:
    """Number of updates of a run, and value of the counter at each scrape by run, model and severity."""
    state, ingest, updates = MetricState(), Ingest(None, None), 0
    found: Samples = {}

    def scrape() -> None:
        for family in state.collect(state.last_ns):
            for labels, value in family.points.items() if family.name == COUNTER else ():
                named = dict(zip(family.attributes, labels, strict=True))
                assert isinstance(value, float)
                found.setdefault((run.name, named["model"], named["severity"]), []).append(int(value))

    with LogReader(run) as reader:
        while items := reader.read(1000):
            for item in items:
                line = ingest.take(item)
                account(state, line)
                if line.record is not None and line.record.event_type == "TOLARIA_TRAINING_UPDATE":
                    updates += 1
                    if updates % SCRAPE_EVERY == 1:
                        scrape()
    scrape()
    return updates, found


def rules_tested(samples: Samples) -> str:
    """A test of the rule engine: each run but the healthy one fires."""
    selected = metric(COUNTER).removesuffix("}")
    series = [
        {
            "series": f'{selected}{{job="esper",instance="{run}",group_id="default",rank="0",'
            f'severity="{severity}",model="{model}"}}',
            "values": " ".join(f"{value}x{len(list(same)) - 1}" for value, same in groupby(values)),
        }
        for (run, model, severity), values in samples.items()
    ]
    fired = f'max_over_time(ALERTS{{alertname="{ALERT}", alertstate="firing"}}[3h])'
    checks = [
        {"expr": f"count(count by (instance) ({fired}))", "exp_samples": [{"labels": "{}", "value": RUNS}]},
        {
            "expr": f"count(count by (instance) ({fired}) * on (instance) group_left () label_replace(vector(1), "
            '"instance", "healthy", "", ""))',
            "exp_samples": [],
        },
    ]
    end = f"{max(map(len, samples.values())) // 4 + 5}m"
    return to_yaml(
        {
            "rule_files": [str(ROOT / "deploy" / "prometheus" / "rules.yml")],
            "evaluation_interval": "30s",
            "tests": [
                {
                    "interval": "15s",
                    "input_series": series,
                    "promql_expr_test": [{**check, "eval_time": end} for check in checks],
                }
            ],
        }
    )


@pytest.mark.parametrize("name", CASES)
def test_one_exploding_update_of_an_unchanged_program_fires_at_a_hundred_of_a_hundred_placements(
    name: str, tmp_path: Path
) -> None:
    program, arguments, count = CASES[name]
    chance = random.Random(7)
    placements = {f"r{number}": chance.randint(UNJUDGED + 1, count) for number in range(RUNS)} | {"healthy": 0}
    trained(tmp_path, program, arguments, placements)
    samples: Samples = {}
    for run in placements:
        updates, found = scraped(tmp_path / "telemetry" / run)
        assert updates == count
        samples |= found
    last = {run: values[-1] for (run, _, severity), values in samples.items() if severity == "critical"}
    missed = [(run, placements[run]) for run, value in last.items() if value == 0 and run != "healthy"]
    tests = tmp_path / "tests.yml"
    tests.write_text(rules_tested(samples))

    status, said = promtool("test", "rules", tests)

    assert missed == []
    assert last["healthy"] == 0
    assert "SUCCESS" in said, said
    assert status == 0
