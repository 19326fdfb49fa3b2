"""The chaos recipe really breaks a run; everything that it breaks is found, and arrives by every way out."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from esper_otel.events import EVENT_TYPES
from esper_otel.events.anomalies import Anomaly
from tests.otlp_receiver import OtlpReceiver, attributes, wait_for_events
from tests.relay.processes import announced_url, environment, lines_of, manifest, samples, scrape
from tests.waiting import PATIENCE_S, wait_for
from trainer.interventions import KINDS, Intervention
from trainer.recipes import RECIPES
from trainer.simic.chaos import CARRIED_OUT

ROOT = Path(__file__).resolve().parents[2]

ANOMALIES = {
    "GRADIENT_ANOMALY": "simic_gradient_anomalies_total",
    "GRADIENT_PATHOLOGY_DETECTED": "simic_gradient_pathologies_total",
    "RATIO_EXPLOSION_DETECTED": "simic_ratio_explosions_total",
    "RATIO_COLLAPSE_DETECTED": "simic_ratio_collapses_total",
    "VALUE_COLLAPSE_DETECTED": "simic_value_collapses_total",
    "NUMERICAL_INSTABILITY_DETECTED": "simic_numerical_instabilities_total",
    "PERFORMANCE_DEGRADATION": "simic_performance_degradations_total",
    "REWARD_HACKING_SUSPECTED": "simic_reward_hacking_suspicions_total",
    "DEGRADATION_DETECTED": "simic_degradations_total",
    "MEMORY_WARNING": "simic_memory_warnings_total",
    "TAMIYO_UPDATE_SKIPPED": "tamiyo_skipped_updates_total",
    "TOLARIA_ROLLBACK": "tolaria_rollbacks_total",
}
TRENDS = {
    "PLATEAU_DETECTED": "simic_plateaus_total",
    "IMPROVEMENT_DETECTED": "simic_improvements_total",
}
FOUND = ANOMALIES | TRENDS


class Outcome(msgspec.Struct):
    """Lines of the log, samples of the last exposition, and what an OTLP receiver got."""

    lines: list[dict]
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    received: OtlpReceiver

    def payloads(self, event_type: str) -> list[dict]:
        return [line["data"] for line in self.lines if line["event_type"] == event_type]

    def total(self, name: str, **labels: str) -> float:
        wanted = set(labels.items())
        return sum(value for (metric, pairs), value in self.samples.items() if metric == name and wanted <= set(pairs))

    def broken_rounds(self) -> list[Span]:
        rounds = [span for span in self.received.spans if span.name == "simic.round"]
        return [span for span in rounds if span.status.code == Status.STATUS_CODE_ERROR]


@pytest.fixture(scope="module")
def chaos(tmp_path_factory) -> Iterator[Outcome]:
    directory = tmp_path_factory.mktemp("chaos")
    with OtlpReceiver() as receiver:
        env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint, ESPER_OTEL_LINGER="300")
        command = [sys.executable, "-m", "trainer", "--recipe", "chaos", "--telemetry-dir", str(directory)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        run = (directory / "latest").resolve()
        url = announced_url(run)
        wait_for_events(receiver, lines_of(run))
        wait_for(lambda: sum(span.name == "simic.round" for span in receiver.spans) >= 20, "the last round's trace")
        try:
            yield Outcome(lines_of(run), samples(scrape(url)), receiver)
        finally:
            with suppress(ProcessLookupError):
                os.kill(manifest(run)["relay"]["pid"], signal.SIGTERM)


def test_the_list_of_anomalies_is_that_of_the_contract():
    declared = {name for name, event in EVENT_TYPES.items() if issubclass(event, Anomaly)}

    assert declared <= set(ANOMALIES)


@pytest.mark.parametrize("event_type", FOUND)
def test_every_anomaly_and_trend_is_in_the_log_and_counted_by_its_metric(chaos, event_type):
    in_log = len(chaos.payloads(event_type))

    assert in_log > 0
    assert in_log == chaos.total(FOUND[event_type])


@pytest.mark.parametrize("event_type", FOUND)
def test_every_anomaly_and_trend_arrives_as_a_log_event(chaos, event_type):
    name = EVENT_TYPES[event_type].otel_name
    arrived = [log for log in chaos.received.logs if log.event_name == name]

    assert len(chaos.payloads(event_type)) == len(arrived)
    assert all(log.trace_id for log in arrived)


@pytest.mark.parametrize("event_type", ANOMALIES)
def test_every_anomaly_makes_the_span_of_its_round_an_error_that_names_it(chaos, event_type):
    name = EVENT_TYPES[event_type].otel_name
    named = [span for span in chaos.broken_rounds() if name in span.status.message]

    assert named
    assert all(attributes(span)["esper.round.anomalous"] for span in named)


def test_a_gradient_explodes_beyond_the_critical_limit_and_is_clipped(chaos):
    updates = [update for update in chaos.payloads("TAMIYO_POLICY_UPDATE") if update["batch"] == 13]

    assert all(update["pre_clip_grad_norm"] > 100.0 for update in updates)
    assert all(update["grad_norm"] <= 1.0 + 1e-5 for update in updates)
    assert len(updates) <= chaos.total("tamiyo_grad_norm_violations_total", severity="critical")


def test_the_update_on_a_nan_is_skipped_and_says_which_parameters_were_hit(chaos):
    (skip,) = chaos.payloads("TAMIYO_UPDATE_SKIPPED")

    assert (3, 1, "nonfinite_loss", "NaN") == (skip["batch"], skip["ppo_update_idx"], skip["reason"], skip["loss"])
    assert "heads.op.weight" in skip["grad_nan_layers"]
    assert 3 not in {update["batch"] for update in chaos.payloads("TAMIYO_POLICY_UPDATE")}


def test_the_host_with_a_nan_weight_names_the_layer_and_is_rolled_back(chaos):
    rollbacks = chaos.payloads("TOLARIA_ROLLBACK")
    (rollback,) = [rollback for rollback in rollbacks if rollback["panic_reason"] == "governor_nan"]
    bad = [epoch for epoch in chaos.payloads("TOLARIA_EPOCH_COMPLETED") if epoch.get("grad_nan_layers")]

    assert (0, 8) == (rollback["env_id"], rollback["inner_epoch"])
    assert {(0, 8)} == {(epoch["env_id"], epoch["inner_epoch"]) for epoch in bad}


def test_the_policy_collapses(chaos):
    kinds = {anomaly["anomaly_type"] for anomaly in chaos.payloads("GRADIENT_ANOMALY")}
    last = chaos.payloads("TAMIYO_POLICY_UPDATE")[-1]

    assert "entropy_collapse_op" in kinds
    assert last["head_entropy"]["op"] < 0.08
    assert last["policy_determinism"] > 0.8


def test_both_patterns_of_reward_hacking_are_suspected(chaos):
    suspected = {event["pattern"]: event for event in chaos.payloads("REWARD_HACKING_SUSPECTED")}

    assert {"attribution_ratio", "ransomware_signature"} == set(suspected)
    assert suspected["attribution_ratio"]["ratio"] > 5.0
    assert suspected["ransomware_signature"]["total_improvement"] < -1.0


def test_the_memory_warning_tells_what_was_really_used(chaos):
    warnings = chaos.payloads("MEMORY_WARNING")

    assert all(0.85 * warning["gpu_total_gb"] < warning["gpu_allocated_gb"] for warning in warnings)
    assert 1.0 == warnings[0]["gpu_total_gb"]


@pytest.mark.parametrize(
    ("event_type", "evidence"),
    [
        ("RATIO_EXPLOSION_DETECTED", "ratio_diagnostic"),
        ("NUMERICAL_INSTABILITY_DETECTED", "stability"),
        ("GRADIENT_ANOMALY", "gradient_stats"),
    ],
)
def test_an_anomaly_brings_the_numbers_behind_it(chaos, event_type, evidence):
    assert any(event.get(evidence) for event in chaos.payloads(event_type))


def test_an_intervention_that_nobody_carries_out_is_refused():
    with pytest.raises(ValueError, match="'earthquake' is not one of"):
        Intervention(kind="earthquake", rounds=(1,))


def test_the_recipe_uses_every_kind_of_intervention_and_each_is_carried_out():
    assert set(KINDS) == {intervention.kind for intervention in RECIPES["chaos"].interventions} == set(CARRIED_OUT)


ARITHMETIC = {
    "without vector instructions": (
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        ("--threads", "1", "--seed", "1"),
    ),
    "short vectors, two threads, sparse rewards": (
        # Threads that wait for each other sleep: on a machine whose cores are busy they would burn what they wait for.
        {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_WAIT_POLICY": "PASSIVE"},
        ("--threads", "2", "--seed", "60", "--reward-mode", "sparse"),
    ),
}
"""Two other ways to round, each with another seed and half the environments: two other trajectories."""


@pytest.mark.parametrize("how", ARITHMETIC)
def test_every_anomaly_and_trend_is_forced_whatever_the_seed_and_the_arithmetic_are(tmp_path, how):
    variables, options = ARITHMETIC[how]
    command = [sys.executable, "-m", "trainer", "--recipe", "chaos", "--envs", "1", *options, "--no-progress"]
    done = subprocess.run(
        [*command, "--telemetry-dir", str(tmp_path)],
        cwd=ROOT,
        env=environment(ESPER_OTEL_RELAY="0", **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr

    lines = lines_of((tmp_path / "latest").resolve())
    suspected = {line["data"]["pattern"] for line in lines if line["event_type"] == "REWARD_HACKING_SUSPECTED"}
    anomalies = {line["data"]["anomaly_type"] for line in lines if line["event_type"] == "GRADIENT_ANOMALY"}
    assert set() == set(FOUND) - {line["event_type"] for line in lines}
    assert {"attribution_ratio", "ransomware_signature"} == suspected
    assert {"gradient_explosion", "entropy_collapse_op"} <= anomalies
