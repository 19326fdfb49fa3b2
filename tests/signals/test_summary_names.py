"""Names and planned series of summary mode."""

from __future__ import annotations

import pytest
from msgspec import structs

from esper_otel.alerts.needed import NEEDED
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.families import HistogramPoint
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.metrics.summary import summarised
from esper_otel.signals.cardinality import PLANNED, cardinalities, series_of_a_point
from esper_otel.signals.names import problems_of_name
from esper_otel.signals.own import OWN_SIGNALS
from esper_otel.signals.registry import SIGNALS
from esper_otel.signals.summary import STATISTICS, WORST, summary_names, summary_series
from tests.recorded import recording

GAUGES = [signal for signal in SIGNALS if signal.instrument.otel == "gauge"]
SUFFIXES = (*STATISTICS, *WORST.values())


def test_no_summary_has_the_name_of_a_metric() -> None:
    declared = {name for one in (*SIGNALS, *OWN_SIGNALS) for name in (one.name, one.prometheus_name)}
    derived = {name for one in GAUGES for end in SUFFIXES for name in summary_names(one.name, one.unit, end)[::2]}

    assert len(derived) > 1_000
    assert set() == derived & declared


def test_the_names_of_summaries_obey_the_rules_of_all_names() -> None:
    names = [summary_names(signal.name, signal.unit, suffix)[:2] for signal in GAUGES for suffix in SUFFIXES]

    assert {} == {name: problems for name, unit in names if (problems := problems_of_name(name, unit))}


def test_a_unit_stands_behind_the_suffix_and_a_number_of_a_rank_has_none() -> None:
    name = "tolaria.step.mean_duration"

    assert "tolaria_step_mean_duration_max_seconds" == summary_names(name, "s", "max")[2]
    assert (f"{name}_worst_rank", "", "tolaria_step_mean_duration_worst_rank") == summary_names(name, "s", "worst_rank")


def test_nothing_is_planned_to_cost_more_than_it_does_without_a_summary() -> None:
    for ranks in (1, 5, 8, 64):
        less = summary_series(SIGNALS, NEEDED, ranks=ranks)

        assert {} == {
            name: (less[name], ranks * one.planned_series)
            for name, one in cardinalities(SIGNALS).items()
            if less[name] > ranks * one.planned_series
        }


@pytest.mark.parametrize("ranks", [1, 8])
def test_no_metric_of_a_recorded_run_has_more_series_than_were_planned_for_its_summary(ranks: int) -> None:
    reader, ingest, state = LogReader(recording("esper-lite-3env-3slot")), Ingest(), MetricState()
    while items := reader.read(500):
        for line in map(ingest.take, items):
            assert line.record is not None
            for rank in range(ranks):
                account(state, structs.replace(line, record=structs.replace(line.record, rank=rank)))
    reader.close()
    families, _ = summarised(state.collect(state.last_ns), state.limits.admitted)
    planned = summary_series(SIGNALS, NEEDED, {**PLANNED, "env_id": 3, "slot": 3}, ranks)
    measured: dict[str, int] = {}
    for family in families:
        name = next((end for end in SUFFIXES if family.name.endswith(f"_{end}")), None)
        base = family.name.removesuffix(f"_{name}") if name and family.name not in planned else family.name
        size = series_of_a_point(len(family.bounds)) if family.instrument == "histogram" else 1
        measured[base] = measured.get(base, 0) + size * len(family.points)
        assert all(isinstance(point, HistogramPoint) for point in family.points.values()) == (size > 1)

    assert 400 < sum(measured.values())
    assert {} == {
        name: (series, planned[name]) for name, series in measured.items() if name in planned and series > planned[name]
    }
