"""A backfilled run stands in a real Prometheus where it happened, and ends with what a relay serves of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import pytest

from tests.backfill.imported import Written, imported, written
from tests.prometheus.real_prometheus import Prometheus
from tests.recorded import RECORDINGS, recording
from tests.recordings.served_run import Served, relay_on, scrape
from tests.shared_run import finished_run
from tests.tools import tool

TRAINED = "trained"
RELAYS_OWN = ("esper_relay_", "esper_run_status")
"""About the relay at work: what it delivered, how far it is, what it makes of silence."""

LABELS = frozenset({"__name__", "job", "instance"})


SMOKE = ("--recipe", "smoke", "--seed", "3")
"""A run of our own trainer, which says when it ends and has a ``run.json``."""


class Case(msgspec.Struct, frozen=True):
    """One run: its backfill in a Prometheus, and what a relay serves of it."""

    name: str
    backfill: Written
    prometheus: Prometheus
    served: Served


@pytest.fixture(scope="module", params=[*RECORDINGS, TRAINED])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    tool("promtool")
    directory = tmp_path_factory.mktemp("prometheus")
    run = finished_run(tmp_path_factory, *SMOKE) if request.param == TRAINED else recording(request.param)
    with relay_on(run) as url:
        served = scrape(url)
    backfill = written(run, directory / "metrics.om", "--step", "500ms")
    with imported(backfill, directory) as prometheus:
        yield Case(request.param, backfill, prometheus, served)


def at_the_end(case: Case, selector: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Series of the last scrape, by name and labels; what ended before it is not looked back for."""
    return {
        (
            series["metric"]["__name__"],
            tuple(sorted((name, text) for name, text in series["metric"].items() if name not in LABELS)),
        ): float(series["value"][1])
        for series in case.prometheus.query(f"last_over_time({selector}[1ms] @ {case.backfill.last_s})")
    }


def test_every_counter_and_histogram_ends_at_what_the_relay_serves(case: Case) -> None:
    expected = {
        (name, tuple((label, text) for label, text in labels if text)): value
        for (name, labels), value in case.served.counters.items()
        if not name.startswith(RELAYS_OWN)
    }
    found = at_the_end(case, '{job="esper"}')

    assert len(expected) > 280
    assert expected == {series: found.get(series) for series in expected}


def test_every_gauge_ends_at_what_the_relay_serves_and_nothing_else_is_there(case: Case) -> None:
    expected = {
        (sample.name, tuple(sorted((label, text) for label, text in sample.labels.items() if text))): sample.value
        for sample in case.served.samples
        if not sample.name.startswith((*RELAYS_OWN, "target_info"))
    }
    found = at_the_end(case, '{job="esper", __name__!~"target_info|esper_run_status|esper_relay_.*"}')

    assert expected == found


def test_the_run_has_the_labels_that_service_discovery_gives(case: Case) -> None:
    found = case.prometheus.query(f"count by (job, instance) (tamiyo_updates_total @ {case.backfill.last_s})")

    assert [{"job": "esper", "instance": case.name}] == [series["metric"] for series in found]


def test_increase_over_the_run_finds_its_events_at_their_time(case: Case) -> None:
    selector = 'esper_events_total{event_type="TAMIYO_DECISION"}'
    events = case.served.values("esper_events_total", "event_type")[("TAMIYO_DECISION",)]
    end, duration_s = case.backfill.last_s, math.ceil(case.backfill.last_s - case.backfill.first_s) + 1
    rate = case.prometheus.number(f"sum(rate({selector}[{duration_s}s] @ {end}))")

    assert rate == pytest.approx(events / duration_s, rel=0.3)


def test_a_counter_that_never_counted_stands_at_zero_from_the_first_scrape_of_its_domain_on(case: Case) -> None:
    text = case.backfill.path.read_text(encoding="utf-8")
    began_s = min(
        line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith("simic_training_starts_total")
    )
    expression = f"simic_degradations_total @ {began_s}"

    assert [0.0] == [float(series["value"][1]) for series in case.prometheus.query(expression)][:1]


def test_a_quantile_of_a_histogram_can_be_asked_at_the_original_time(case: Case) -> None:
    expression = f"histogram_quantile(0.5, sum by (le) (tamiyo_pre_clip_grad_norm_bucket @ {case.backfill.last_s}))"

    assert case.prometheus.number(expression) > 0


def test_the_times_are_those_of_the_first_and_the_last_event(case: Case) -> None:
    (info,) = case.prometheus.query(f"min_over_time(timestamp(target_info)[1h:500ms] @ {case.backfill.last_s + 1})")
    last = case.prometheus.number(f"max(esper_relay_last_record_timestamp_seconds @ {case.backfill.last_s})")

    assert case.backfill.first_s == pytest.approx(float(info["value"][1]), abs=0.001)
    assert case.backfill.last_s == pytest.approx(last, abs=0.001)


def test_a_run_that_said_how_it_ended_ends_in_that_state(case: Case) -> None:
    running = case.prometheus.number(f'esper_run_status{{esper_run_state="running"}} @ {case.backfill.first_s}')
    states = case.prometheus.query(f"esper_run_status @ {case.backfill.last_s} == 1")
    ended = [series["metric"]["esper_run_state"] for series in states]

    assert running == 1.0
    assert ended == (["finished"] if case.name == TRAINED else [])
