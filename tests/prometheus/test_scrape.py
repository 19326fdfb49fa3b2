"""A real Prometheus scrapes a relay that it found through `prometheus_targets.json`, and answers with what was served.

The run is a recording of esper-lite whose events were emitted through the public API.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from esper_otel.events.vocabulary import STAGES
from tests.prometheus.real_prometheus import Prometheus, prometheus_on
from tests.recorded import recording
from tests.recordings.emit_recording import emitted
from tests.recordings.served_run import Served, relay_on, scrape
from tests.tools import tool

JOB, INSTANCE = "esper", "run"
GRAD_NORM = "tamiyo_pre_clip_grad_norm"


class Scraped(msgspec.Struct, frozen=True):
    """What the relay served, the server that scraped it, and the log that it is all about."""

    served: Served
    prometheus: Prometheus
    lines: list[dict[str, Any]]

    @property
    def norms(self) -> list[float]:
        """Gradient norms before clipping, ascending."""
        updates = [line["data"] for line in self.lines if line["event_type"] == "TAMIYO_POLICY_UPDATE"]
        return sorted(update["pre_clip_grad_norm"] for update in updates)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    tool("prometheus")
    telemetry = tmp_path_factory.mktemp("telemetry")
    run = emitted(recording("esper-lite-3env-3slot"), telemetry)
    with (
        relay_on(run) as url,
        prometheus_on(telemetry / "prometheus_targets.json", tmp_path_factory.mktemp("prometheus")) as prometheus,
    ):
        prometheus.wait_for("sum_over_time(up[1m]) >= 2")
        lines = [json.loads(line) for line in (run / "events.jsonl").read_bytes().splitlines()]
        yield Scraped(scrape(url), prometheus, lines)


def labels_in_prometheus(labels: dict[str, str], name: str) -> tuple[tuple[str, str], ...]:
    """Labels of a served sample as Prometheus keeps them: an empty one does not exist."""
    kept = {label: value for label, value in labels.items() if value}
    return tuple(sorted({"__name__": name, "job": JOB, "instance": INSTANCE, **kept}.items()))


def test_prometheus_has_every_series_with_the_value_that_was_served(scraped: Scraped) -> None:
    expected = {labels_in_prometheus(s.labels, s.name): s.value for s in scraped.served.samples}
    answer = scraped.prometheus.query(f'{{job="{JOB}", __name__!~"up|scrape_.*"}}')
    found = {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in answer}

    assert len(expected) > 500
    assert expected == found


def test_prometheus_keeps_the_type_of_every_metric(scraped: Scraped) -> None:
    types = scraped.prometheus.types()
    served = {family.name: family.type for family in text_string_to_metric_families(scraped.served.text)}

    assert served == {name: types.get(name) for name in served}


def test_the_target_is_the_run_that_the_targets_file_names(scraped: Scraped) -> None:
    ((metric),) = [series["metric"] for series in scraped.prometheus.query("up == 1")]

    assert (JOB, INSTANCE) == (metric["job"], metric["instance"])


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_a_quantile_of_the_gradient_norm_lies_in_the_bucket_of_the_true_one(scraped: Scraped, quantile: float) -> None:
    true = scraped.norms[min(int(quantile * len(scraped.norms)), len(scraped.norms) - 1)]
    bounds = sorted(float(le) for (le,) in scraped.served.values(f"{GRAD_NORM}_bucket", "le"))
    below = max((bound for bound in bounds if bound < true), default=0.0)
    above = min(bound for bound in bounds if bound >= true)

    found = scraped.prometheus.number(f"histogram_quantile({quantile}, sum by (le) ({GRAD_NORM}_bucket))")

    assert below <= found <= above


@pytest.mark.parametrize("bound", [10, 100])
def test_a_rule_that_matches_both_spellings_of_a_bound_finds_its_bucket(scraped: Scraped, bound: int) -> None:
    expected = sum(norm <= bound for norm in scraped.norms)

    assert expected == scraped.prometheus.number(f'sum({GRAD_NORM}_bucket{{le=~"{bound}(\\\\.0)?"}})')


def test_a_counter_that_never_counted_is_there_at_zero(scraped: Scraped) -> None:
    expression = 'sum(tamiyo_grad_norm_violations_total{severity="critical"})'

    assert scraped.prometheus.number(expression) == 0.0
    assert scraped.prometheus.number(f"sum(increase({expression[4:-1]}[1m]))") == 0.0


def test_target_info_joins_the_run_to_its_series(scraped: Scraped) -> None:
    joined = scraped.prometheus.query(
        "max by (env_id, esper_run_id, service_name) "
        "(tolaria_val_accuracy * on (job, instance) group_left(esper_run_id, service_name) target_info)"
    )

    assert {("0", "run", "esper"), ("1", "run", "esper"), ("2", "run", "esper")} == {
        (series["metric"]["env_id"], series["metric"]["esper_run_id"], series["metric"]["service_name"])
        for series in joined
    }


def test_a_slot_is_in_the_one_stage_that_its_last_epoch_says(scraped: Scraped) -> None:
    epochs = [line["data"] for line in scraped.lines if line["event_type"] == "TOLARIA_EPOCH_COMPLETED"]
    last = {epoch["env_id"]: epoch.get("seeds", {}) for epoch in epochs}
    expected = {(str(env), slot, seed["stage"]) for env, seeds in last.items() for slot, seed in seeds.items()}
    found = scraped.prometheus.query("kasmina_seed_state == 1")

    assert expected
    assert expected == {tuple(series["metric"][name] for name in ("env_id", "slot", "stage")) for series in found}
    assert len(expected) * len(STAGES) == len(scraped.prometheus.query("kasmina_seed_state"))
