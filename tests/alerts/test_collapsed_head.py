"""A head that collapses fires an alert after some updates, however short the run; one that recovered does not.

The series are what a relay's own metric state shows at scrapes 15 s apart, each case an ``instance`` of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest

from esper_otel.alerts.kinds import BY_NAME
from esper_otel.alerts.promql import metric, threshold
from esper_otel.events import PolicyUpdate
from esper_otel.relay.metrics.state import MetricState
from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.tools import ROOT

SCRAPE_S: Final = 15
START_NS: Final = 1_700_000_000_000_000_000
SIGNALS: Final = ("tamiyo.head_entropy", "tamiyo.head_entropy_violations")
ENOUGH: Final = BY_NAME["TamiyoHeadEntropyCollapsed"].least
SOUND, COLLAPSED = 0.5, float(threshold("tamiyo.head_entropy").critical_below or 0.0) / 2


class Life(msgspec.Struct, frozen=True):
    """A run: the entropies of its updates, the time between two of them, and when to look, in s from the start."""

    entropies: list[float]
    every_s: float
    look_s: float
    fires: bool


def _then(sound: int, collapsed: int, recovered: int = 0) -> list[float]:
    return [SOUND] * sound + [COLLAPSED] * collapsed + [SOUND] * recovered


LIVES: Final = {
    "ends ten seconds after its policy did": Life(_then(60, 2 * ENOUGH), 1.0, 150.0, True),
    "collapsed before its first scrape": Life(_then(0, ENOUGH), 1.0, 60.0, True),
    "collapsed in too few updates to tell": Life(_then(60, ENOUGH - 1), 1.0, 150.0, False),
    "recovered and ended": Life(_then(60, 4 * ENOUGH, 20), 1.0, 180.0, False),
    "is collapsed and goes on": Life(_then(60, 200), 30.0, 7800.0, True),
    "updates its policy every twenty minutes": Life(_then(3, ENOUGH + 1), 1200.0, 10700.0, True),
    "is sound": Life(_then(400, 0), 10.0, 3900.0, False),
    "ended a while ago": Life(_then(60, 2 * ENOUGH), 1.0, 1200.0, False),
}


def scraped(life: Life) -> dict[str, list[float]]:
    """Values of each series of the head at the scrapes of a run that ends after its last update."""
    state, found, scrapes = MetricState(), {}, 0
    for number, entropy in enumerate([*life.entropies, life.entropies[-1]]):
        at_s = number * life.every_s
        while (scrapes + 1) * SCRAPE_S <= at_s:
            scrapes += 1
            _scrape(state, scrapes, found)
        if number < len(life.entropies):
            update = PolicyUpdate(head_entropy={"op": entropy, "slot": SOUND})
            state.apply(update, group_id="default", rank=0, timestamp_ns=START_NS + int(at_s * 1e9))
    _scrape(state, scrapes + 1, found)  # the relay stays for another scrape
    return found


def _scrape(state: MetricState, number: int, found: dict[str, list[float]]) -> None:
    for family in state.collect(START_NS + number * SCRAPE_S * 1_000_000_000):
        if family.name in SIGNALS:
            for (group, rank, *rest), value in family.points.items():
                labels = {"group_id": group, "rank": rank, **dict(zip(("head", "severity"), rest, strict=False))}
                values = found.setdefault(metric(family.name, job="esper", instance="run", **labels), [])
                values += [float("nan")] * (number - 1 - len(values))
                assert isinstance(value, float)
                values.append(value)


def _said(value: float) -> str:
    return "_" if value != value else f"{value:g}"


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Report of promtool on all lives at once."""
    series, checks = [], []
    for name, life in LIVES.items():
        for selector, values in scraped(life).items():
            text = selector.replace('instance="run"', f'instance="{name}"')
            series.append({"series": text, "values": " ".join(["_", *map(_said, values)])})
        fired = f'ALERTS{{alertname="TamiyoHeadEntropyCollapsed", alertstate="firing", instance="{name}"}}'
        sample = [{"labels": f'{{instance="{name}", head="op"}}', "value": 1}] if life.fires else []
        checks.append(
            {
                "expr": f"count by (instance, head) ({fired})",
                "eval_time": f"{life.look_s:.0f}s",
                "exp_samples": sample,
            }
        )
    file: Path = tmp_path_factory.mktemp("collapsed") / "tests.yml"
    test = {"interval": f"{SCRAPE_S}s", "input_series": series, "promql_expr_test": checks}
    rules = str(ROOT / "deploy" / "prometheus" / "rules.yml")
    file.write_text(to_yaml({"rule_files": [rules], "evaluation_interval": "30s", "tests": [test]}))
    return promtool("test", "rules", file)[1]


@pytest.mark.parametrize("name", LIVES)
def test_a_head_of_a_run_is_judged_by_its_updates_when_the_run(verdicts: str, name: str) -> None:
    assert "SUCCESS" in verdicts or "FAILED" in verdicts, verdicts
    assert name not in verdicts, verdicts
