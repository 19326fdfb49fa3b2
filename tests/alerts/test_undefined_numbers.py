"""An explained variance that is undefined or means nothing, because all returns are alike, is no fault of a training.

The series are what a relay's own metric state shows at scrapes 15 s apart, of the events that esper-lite sends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from esper_otel.events import Event, NumericalInstability, PolicyUpdate, ValueCollapse
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.prometheus.exposition import to_prometheus
from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.tools import ROOT

START_NS = 1_700_000_000_000_000_000
SCRAPES = 300
BORN = 20
"""Scrape from which on there is a run; its events come with every scrape."""

UNDEFINED = PolicyUpdate(batch=1, explained_variance=math.nan, ev_low_return_variance=True, value_loss=0.1, entropy=1.0)
LOST = PolicyUpdate(batch=1, explained_variance=math.nan, ev_low_return_variance=True, value_loss=math.nan, entropy=1.0)
ALIKE = PolicyUpdate(batch=1, explained_variance=-9.0, ev_low_return_variance=True)
WORSE_THAN_A_MEAN = PolicyUpdate(batch=1, explained_variance=-9.0, ev_low_return_variance=False)
NAN = NumericalInstability(batch=1, detail="Detected: NaN")
COLLAPSED = ValueCollapse(batch=1, value=24.9)

CASES: dict[str, tuple[str, Sequence[Event], bool]] = {
    "undefined": ("TamiyoNumericalInstability", (UNDEFINED, NAN), False),
    "undefined-beside-a-loss": ("TamiyoNumericalInstability", (LOST, NAN), True),
    "undefined-beside-a-skip": (
        "TamiyoNumericalInstability",
        (UNDEFINED, NAN, PolicyUpdate(batch=2, entropy=math.nan)),
        True,
    ),
    "a-weight": ("TamiyoNumericalInstability", (WORSE_THAN_A_MEAN, NAN), True),
    "collapsed-where-alike": ("TamiyoValueCollapsed", (ALIKE, COLLAPSED), False),
    "collapsed": ("TamiyoValueCollapsed", (WORSE_THAN_A_MEAN, COLLAPSED), True),
    "low-where-alike": ("TamiyoExplainedVarianceLow", (ALIKE,), False),
    "low": ("TamiyoExplainedVarianceLow", (WORSE_THAN_A_MEAN,), True),
}


def scraped(events: Sequence[Event], instance: str) -> dict[str, str]:
    """Samples of every series of a run."""
    state = MetricState()
    found: dict[str, list[str]] = {}
    for number in range(SCRAPES):
        at_ns = START_NS + number * 15_000_000_000
        for event in events if number >= BORN else ():
            state.apply(event, group_id="default", rank=0, timestamp_ns=at_ns)
            state.note_nonfinite(event)
        for family in state.collect(at_ns):
            for sample in to_prometheus(family).samples:
                labels = {"job": "esper", "instance": instance, **sample.labels}
                text = ",".join(f'{name}="{value}"' for name, value in labels.items())
                found.setdefault(f"{sample.name}{{{text}}}", ["_"] * number).append(f"{sample.value:g}")
    return {series: " ".join(values) for series, values in found.items()}


def test_alerts_take_no_number_without_a_meaning_for_a_bad_one(tmp_path: Path) -> None:
    samples = {series: text for name, (_, events, _) in CASES.items() for series, text in scraped(events, name).items()}
    checks = [
        {
            "expr": f'count(max_over_time(ALERTS{{alertname="{alert}", alertstate="firing", instance="{name}"}}[70m]))',
            "eval_time": "70m",
            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
        }
        for name, (alert, _, fires) in CASES.items()
    ]
    series = [{"series": name, "values": values} for name, values in samples.items()]
    (tmp_path / "tests.yml").write_text(
        to_yaml(
            {
                "rule_files": [str(ROOT / "deploy" / "prometheus" / "rules.yml")],
                "evaluation_interval": "30s",
                "tests": [{"interval": "15s", "input_series": series, "promql_expr_test": checks}],
            }
        )
    )

    status, said = promtool("test", "rules", tmp_path / "tests.yml")

    assert (0, "SUCCESS") == (status, said.strip().splitlines()[-1].strip()), said
