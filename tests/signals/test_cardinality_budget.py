"""The cardinality budget: what the bounds of the attributes allow, what is planned, and what real runs have."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml

from deploy.prometheus.build import rule_files
from esper_otel.events.declare import counter, gauge, histogram
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.metrics.families import HistogramPoint
from esper_otel.relay.metrics.state import MetricState
from esper_otel.signals.cardinality import BUDGET, PLANNED, Budget, cardinalities, cardinality, excess, series_of_a_gpu
from esper_otel.signals.hardware import HARDWARE_SIGNALS
from esper_otel.signals.registry import SIGNALS
from tests.recorded import RECORDINGS, recording
from tests.signals.made_events import built, event, value
from tests.tools import ROOT, tool

SHAPES = {"esper-lite-2env": (2, 2), "esper-lite-3env-3slot": (3, 3), "esper-lite-rollback": (2, 3)}
"""Environments and slots of the recordings."""

PAGE = ROOT / "docs" / "guides" / "scale.md"


def prometheus_snippets() -> dict[str, list[dict]]:
    """The pieces of Prometheus configuration on the page, by their only key."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    snippets = {key: part for block in blocks for key, part in yaml.safe_load(block).items()}
    assert {"metric_relabel_configs", "remote_write"} == set(snippets)
    return snippets


def test_every_metric_and_their_sum_are_within_the_budget() -> None:
    assert [] == excess(SIGNALS)


def test_a_histogram_costs_its_buckets_infinity_sum_and_count() -> None:
    (signal,) = built(event(value(histogram(bounds=(0.1, 1.0, 10.0)))))

    assert 6 == cardinality(signal).planned_series


def test_an_attribute_that_multiplies_beyond_the_budget_is_named_with_its_metric() -> None:
    signals = built(
        event(
            value(gauge(attributes=("env_id", "slot_id", "panic_reason", "blueprint_id"))),
            ("env_id", value()[1]),
            ("slot_id", value()[1]),
            ("panic_reason", value()[1]),
            ("blueprint_id", value()[1]),
        )
    )

    sentences = excess(signals, Budget(metric=600, rank=6_000, metric_bound=10**9, rank_bound=10**9))

    assert 1 == len(sentences)
    (dearest,) = [signal for signal in signals if signal.name == "tamiyo.value"]
    blueprints = dict(cardinality(dearest).planned)["blueprint"]
    assert sentences[0].startswith(
        f"tamiyo.value: {256 * blueprints:,} series a rank planned "
        f"(16 env_id × 4 slot × 4 panic_reason × {blueprints} blueprint) "
        "where 600 are allowed; leave an attribute out, or raise BUDGET in esper_otel/signals/cardinality.py"
    )


def test_one_more_attribute_on_the_dearest_metric_is_refused() -> None:
    dearest = max(SIGNALS, key=lambda signal: cardinality(signal).planned_series)
    wider = msgspec.structs.replace(dearest, attributes=(*dearest.attributes, "gate"))

    sentences = excess([wider])

    assert [dearest.name, dearest.name, "all metrics"] == [sentence.split(":")[0] for sentence in sentences]
    assert "× 5 gate) where 600 are allowed" in sentences[0]


def test_the_sums_have_a_budget_of_their_own() -> None:
    signals = built(event(value(counter()), metrics=(counter("tamiyo.many", unit="{thing}", description="Things."),)))

    sentences = excess(signals, Budget(metric=1, rank=1, metric_bound=1, rank_bound=1))

    assert [
        "all metrics: 2 series a rank planned (their sum)",
        "all metrics: 2 series a rank at most (their sum)",
    ] == [sentence.split(" where")[0] for sentence in sentences]


def test_an_open_state_counts_its_current_name_alone() -> None:
    states = cardinalities(SIGNALS)

    assert 16 * 4 == states["kasmina.seed_blueprint"].planned_series
    assert 16 * 4 * 9 == states["kasmina.seed_state"].planned_series


def test_the_budget_leaves_little_room() -> None:
    found = cardinalities(SIGNALS).values()

    assert BUDGET.metric <= 1.1 * max(one.planned_series for one in found)
    assert BUDGET.rank <= 1.2 * sum(one.planned_series for one in found)
    assert BUDGET.metric_bound <= 1.1 * max(one.bound_series for one in found)
    assert BUDGET.rank_bound <= 1.2 * sum(one.bound_series for one in found)


def test_a_gpu_costs_less_than_a_rank() -> None:
    assert len(HARDWARE_SIGNALS) < series_of_a_gpu() < 200


def series_by_metric(log: Path) -> dict[str, int]:
    """Prometheus series of every metric after the whole of ``log``."""
    reader, ingest, state = LogReader(log, follow=False), Ingest(), MetricState()
    while items := reader.read(500):
        for item in items:
            line = ingest.take(item)
            for one in line.events:
                assert line.record is not None
                state.apply(
                    one, group_id=line.record.group_id, rank=line.record.rank, timestamp_ns=line.record.timestamp_ns
                )
    reader.close()
    return {
        family.name: sum(
            len(family.bounds) + 3 if isinstance(point, HistogramPoint) else 1 for point in family.points.values()
        )
        for family in state.collect(state.last_ns)
    }


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_metric_of_a_recorded_run_has_more_series_than_were_planned_for_its_size(name: str) -> None:
    envs, slots = SHAPES[name]
    planned = cardinalities(SIGNALS, {**PLANNED, "env_id": envs, "slot": slots})

    measured = series_by_metric(recording(name))

    assert 500 < sum(measured.values()) < BUDGET.rank
    assert {} == {
        metric: (series, planned[metric].planned_series)
        for metric, series in measured.items()
        if metric in planned and series > planned[metric].planned_series
    }


def test_the_configuration_on_the_page_is_valid(tmp_path: Path) -> None:
    snippets = prometheus_snippets()
    job = {"job_name": "runs", "metric_relabel_configs": snippets["metric_relabel_configs"]}
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump({"scrape_configs": [job], "remote_write": snippets["remote_write"]}))

    checked = subprocess.run([tool("promtool"), "check", "config", str(path)], capture_output=True, text=True)

    assert 0 == checked.returncode, checked.stderr


def test_the_rule_on_the_page_drops_series_per_environment_and_none_that_a_rule_asks_for() -> None:
    (rule,) = prometheus_snippets()["metric_relabel_configs"]
    dropped = re.compile(rule["regex"])
    asked = set(re.findall(r"[a-z_][a-z0-9_]+", "\n".join(rule_files().values())))
    without_env = {signal.prometheus_name for signal in SIGNALS if "env_id" not in signal.attributes}

    assert dropped.fullmatch("tolaria_forward_duration_seconds_bucket")
    assert [] == sorted(name for name in asked if dropped.fullmatch(name))
    assert [] == sorted(name for name in without_env if dropped.fullmatch(name))


def test_the_page_says_what_the_budget_is() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert f"| all metrics, planned rank | {BUDGET.rank:,} | " in page
    assert f"| one metric at its bounds | {BUDGET.metric_bound:,} | " in page
