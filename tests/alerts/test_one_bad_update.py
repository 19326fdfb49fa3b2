"""One exploding update among 10,000 healthy ones fires, wherever it falls between scrapes; a healthy run does not.

The series are what a relay's own metric state shows at scrapes 15 s apart; a hundred runs share one evaluation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from esper_otel.alerts.promql import metric
from esper_otel.events import PolicyUpdate, TrainingUpdate
from esper_otel.relay.metrics.state import MetricState
from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.tools import ROOT

RUNS = 100
UPDATES = 10_000
UPDATE_EVERY_MS = 500
SCRAPE_EVERY_MS = 15_000
START_NS = 1_700_000_000_000_000_000
HEALTHY = RUNS
"""Rank of the run without a bad update; the others have one each."""

Update = PolicyUpdate | TrainingUpdate
KINDS: dict[str, tuple[str, Callable[[float], Update]]] = {
    "TamiyoGradNormExploded": ("tamiyo.grad_norm_violations", lambda norm: PolicyUpdate(pre_clip_grad_norm=norm)),
    "TolariaGradNormExploded": (
        "tolaria.update.grad_norm_violations",
        lambda norm: TrainingUpdate(
            model="Agent", optimizer="Adam", pre_clip_grad_norm=norm, grad_norm_excess=norm / 10
        ),
    ),
}
"""Counter of each alert, and the update that it is about."""

Samples = dict[tuple[str, str], list[int]]


def updates_of(rank: int, bad: int | None, made: Callable[[float], Update]) -> list[Update]:
    norms = random.Random(rank)
    healthy = [made(norms.lognormvariate(0.0, 0.6)) for _ in range(64)]
    assert max(update.pre_clip_grad_norm or 0.0 for update in healthy) < 10
    updates = [healthy[number % 64] for number in range(UPDATES)]
    if bad is not None:
        updates[bad] = made(2e4)
    return updates


def scraped(placements: list[int], alert: str) -> Samples:
    """Value of the counter at each scrape by rank and severity."""
    state = MetricState()
    counter, made = KINDS[alert]
    runs = [updates_of(rank, bad, made) for rank, bad in enumerate([*placements, None])]
    found: Samples = {}
    for number in range(UPDATES):
        at_ns = START_NS + number * UPDATE_EVERY_MS * 1_000_000
        for rank, updates in enumerate(runs):
            state.apply(updates[number], group_id="default", rank=rank, timestamp_ns=at_ns)
        if (number + 1) * UPDATE_EVERY_MS % SCRAPE_EVERY_MS == 0:
            (family,) = (family for family in state.collect(at_ns) if family.name == counter)
            for (_, rank_text, *_, severity), value in family.points.items():
                assert isinstance(value, float)
                found.setdefault((rank_text, severity), []).append(int(value))
    return found


def promtool_test(samples: Samples, alert: str) -> str:
    counter, _ = KINDS[alert]
    selected = metric(counter).removesuffix("}")
    series = [
        {
            "series": f'{selected}{{job="esper",instance="{rank}",group_id="default",rank="0",severity="{severity}"}}',
            "values": " ".join(f"{value}x{len(list(same)) - 1}" for value, same in groupby(values)),
        }
        for (rank, severity), values in samples.items()
    ]
    fired = f'max_over_time(ALERTS{{alertname="{alert}", alertstate="firing"}}[3h])'
    end = f"{UPDATES * UPDATE_EVERY_MS // 60_000 + 5}m"
    checks = [
        {
            "expr": f"count(count by (instance) ({fired}))",
            "eval_time": end,
            "exp_samples": [{"labels": "{}", "value": RUNS}],
        },
        {
            "expr": f'count({fired}) by (instance) and on (instance) label_replace(vector(1), "instance", "{HEALTHY}", '
            f'"", "")',
            "eval_time": end,
            "exp_samples": [],
        },
    ]
    return to_yaml(
        {
            "rule_files": [str(ROOT / "deploy" / "prometheus" / "rules.yml")],
            "evaluation_interval": "30s",
            "tests": [{"interval": "15s", "input_series": series, "promql_expr_test": checks}],
        }
    )


@pytest.mark.parametrize("alert", KINDS)
def test_a_hundred_runs_with_one_bad_update_each_give_a_hundred_alerts_and_a_healthy_one_gives_none(
    alert: str, tmp_path: Path
) -> None:
    placements = random.Random(5).sample(range(UPDATES), RUNS)
    samples = scraped(placements, alert)
    tests = tmp_path / "tests.yml"
    tests.write_text(promtool_test(samples, alert))

    status, said = promtool("test", "rules", tests)

    assert {UPDATES * UPDATE_EVERY_MS // SCRAPE_EVERY_MS} == {len(values) for values in samples.values()}
    assert [1] * RUNS + [0] == [samples[str(rank), "critical"][-1] for rank in range(RUNS + 1)]
    assert "SUCCESS" in said, said
    assert status == 0
