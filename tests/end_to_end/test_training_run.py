"""What a person gets from one training run, by every way out of it."""

import itertools
from collections import Counter, defaultdict

from esper_otel.signals.names import prometheus_name
from tests.end_to_end.conftest import TrainingRun, train
from tests.healthy_run import HEALTHY_EVENTS
from tests.otlp_receiver import attributes
from tests.relay.processes import events_by_type, samples

MAX_GRAD_NORM_SLACK = 1e-4


def test_the_log_holds_every_event_type_of_a_healthy_run(training_run: TrainingRun) -> None:
    assert {line["event_type"] for line in training_run.lines} >= HEALTHY_EVENTS


def test_events_are_numbered_without_a_gap(training_run: TrainingRun) -> None:
    assert [line["seq"] for line in training_run.lines] == list(range(1, len(training_run.lines) + 1))


def test_policy_updates_count_from_one_within_every_batch(training_run: TrainingRun) -> None:
    numbers = defaultdict(list)
    for update in of_type(training_run, "TAMIYO_POLICY_UPDATE"):
        numbers[update["batch"]].append(update["ppo_update_idx"])

    assert len(numbers) > 1
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def test_the_gradient_norm_before_clipping_varies_and_the_one_after_stays_under_the_limit(
    training_run: TrainingRun,
) -> None:
    updates = of_type(training_run, "TAMIYO_POLICY_UPDATE")
    (started,) = of_type(training_run, "TRAINING_STARTED")

    assert len({update["pre_clip_grad_norm"] for update in updates}) == len(updates)
    assert all(update["grad_norm"] <= started["max_grad_norm"] + MAX_GRAD_NORM_SLACK for update in updates)
    assert any(update["pre_clip_grad_norm"] > started["max_grad_norm"] for update in updates)


def test_every_reward_is_the_sum_of_its_components(training_run: TrainingRun) -> None:
    rewards = of_type(training_run, "SIMIC_REWARD_COMPUTED")

    assert rewards
    assert all(abs(sum(reward["components"].values()) - reward["total_reward"]) < 1e-6 for reward in rewards)


def test_series_of_all_four_domains_are_scraped_while_it_trains(training_run: TrainingRun) -> None:
    names = {name for name, _ in samples(training_run.during)}

    assert names >= {
        "tamiyo_grad_norm_violations_total",
        "tolaria_val_accuracy",
        "kasmina_stage_changes_total",
        "simic_episode_reward",
        "tamiyo_pre_clip_grad_norm_bucket",
    }


def test_the_scraped_counters_equal_the_log(training_run: TrainingRun) -> None:
    assert events_by_type(training_run.scraped) == Counter(line["event_type"] for line in training_run.lines)


def test_nothing_was_lost_rejected_or_unknown(training_run: TrainingRun) -> None:
    scraped = {name: value for (name, _), value in samples(training_run.scraped).items()}

    assert scraped["esper_log_lost_events_total"] == 0
    assert "esper_telemetry_rejected_records_total" not in scraped
    assert "esper_telemetry_unknown_fields_total" not in scraped
    assert "esper_telemetry_mistyped_fields_total" not in scraped
    assert "esper_telemetry_folded_values_total" not in scraped


def test_every_event_arrives_as_a_log_event_that_names_its_rounds_trace(training_run: TrainingRun) -> None:
    received = [attributes(log)["esper.event.id"] for log in training_run.received.logs]
    traces = {span.trace_id for span in training_run.received.spans}
    within = [log for log in training_run.received.logs if log.event_name == "tamiyo.decision"]

    assert sorted(received) == sorted(line["event_id"] for line in training_run.lines)
    assert within
    assert {log.trace_id for log in within} <= traces


def test_every_round_is_one_trace_whose_spans_have_their_parents(training_run: TrainingRun) -> None:
    spans = training_run.received.spans
    rounds = [span for span in spans if span.name == "simic.round"]
    ids = {(span.trace_id, span.span_id) for span in spans}

    assert len(rounds) == len(of_type(training_run, "TOLARIA_BATCH_COMPLETED"))
    assert len({span.trace_id for span in rounds}) == len(rounds)
    assert all((span.trace_id, span.parent_span_id) in ids for span in spans if span.parent_span_id)
    assert Counter(span.name for span in spans)["kasmina.seed"] == len(of_type(training_run, "SEED_GERMINATED"))


def test_every_metric_that_was_sent_has_the_name_that_was_scraped(training_run: TrainingRun) -> None:
    kinds = {"sum": "counter", "gauge": "gauge", "histogram": "histogram"}
    sent = {
        prometheus_name(
            metric.name,
            metric.unit,
            kinds[metric.WhichOneof("data")]
            if metric.WhichOneof("data") != "sum" or metric.sum.is_monotonic
            else "updowncounter",
        )
        for metric in training_run.received.metrics
    }
    scraped = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        for name, _ in samples(training_run.scraped)
    }

    assert sent == scraped - {"target_info"}


def test_the_last_values_sent_are_those_scraped(training_run: TrainingRun) -> None:
    last = {metric.name: metric for metric in training_run.received.metrics}
    epochs = last["tolaria.epochs"].sum.data_points

    assert sum(point.as_double for point in epochs) == len(of_type(training_run, "TOLARIA_EPOCH_COMPLETED"))


def test_the_trainer_says_where_to_look(training_run: TrainingRun) -> None:
    assert str(training_run.run) in training_run.output
    # On a machine with too much to do the relay is not up yet; run.json then has its address a moment later.
    assert "/metrics" in training_run.output or f"see {training_run.run / 'run.json'}" in training_run.output


def test_weights_are_the_same_with_and_without_telemetry(training_run: TrainingRun, tmp_path) -> None:
    silent = train(tmp_path, "--no-telemetry").stdout

    assert digest(silent) == digest(training_run.output)
    assert list(tmp_path.iterdir()) == []


def digest(output: str) -> str:
    (line,) = [line for line in output.splitlines() if line.startswith("weights sha256:")]
    return line


def of_type(training_run: TrainingRun, event_type: str) -> list[dict]:
    return [line["data"] for line in training_run.lines if line["event_type"] == event_type]


def test_no_attribute_of_a_metric_names_a_run_an_episode_or_a_seed(training_run: TrainingRun) -> None:
    labels = {label for _, pairs in samples(training_run.scraped) for label, _ in pairs}
    resource = {"service_name", "service_version", "service_instance_id", "esper_run_id", "host_name", "process_pid"}
    sdk = {"telemetry_sdk_language", "telemetry_sdk_name", "telemetry_sdk_version"}

    assert labels & {"run_id", "episode_idx", "seed_id", "event_id"} == set()
    assert set(itertools.chain(resource)) <= labels - sdk
