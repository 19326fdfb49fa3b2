"""What events do to the metrics, and that a restart changes nothing."""

import math
import sys
import threading
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource

from esper_otel.events import (
    AllocatorStats,
    BatchStats,
    Decision,
    EpochCompleted,
    Event,
    PolicyUpdate,
    SeedSnapshot,
    SeedStageChanged,
    TrainingStarted,
    UpdateSkipped,
)
from esper_otel.events.declare import Instrument
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics.accumulators import zero_combinations
from esper_otel.relay.metrics.families import HistogramPoint
from esper_otel.relay.metrics.pipeline import MetricsPipeline
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.metrics.zeros import OF_ANY_PROGRAM
from esper_otel.relay.otlp.metrics_data import metrics_data
from esper_otel.relay.prometheus.exposition import to_prometheus
from esper_otel.relay.traces.build import SCOPE as SCOPE_OF_RELAY
from esper_otel.signals import own as own_signal
from esper_otel.signals.registry import SIGNALS, Signal

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS
SCOPE = ("default", "0")


def state_after(*events: Event, spacing_ns: int = SECOND_NS) -> MetricState:
    state = MetricState()
    for number, event in enumerate(events):
        state.apply(event, group_id="default", rank=0, timestamp_ns=START_NS + number * spacing_ns)
    return state


def points(state: MetricState, name: str, now_ns: int | None = None) -> dict:
    families = {family.name: family for family in state.collect(state.last_ns if now_ns is None else now_ns)}
    return families[name].points if name in families else {}


def test_a_gauge_shows_the_value_of_the_latest_event():
    state = state_after(PolicyUpdate(policy_loss=1.0), PolicyUpdate(policy_loss=2.0))

    assert points(state, "tamiyo.policy_loss") == {SCOPE: 2.0}


def test_a_run_says_what_each_group_began_with_last():
    state = MetricState()
    for group, lr in (("A", 0.01), ("B", 0.02), ("A", 0.03)):
        state.apply(TrainingStarted(task="digits", lr=lr), group_id=group, rank=0, timestamp_ns=START_NS)

    assert points(state, "esper.run.info") == {
        ("B", "digits", "", "", "", "0.02", "", "", ""): 1.0,
        ("A", "digits", "", "", "", "0.03", "", "", ""): 1.0,
    }


def test_a_gauge_that_became_nan_is_no_longer_exported():
    state = state_after(PolicyUpdate(policy_loss=1.0), PolicyUpdate(policy_loss=math.nan))

    assert points(state, "tamiyo.policy_loss") == {}


def test_a_gauge_that_the_latest_event_does_not_have_is_not_exported():
    state = state_after(PolicyUpdate(policy_loss=1.0), PolicyUpdate(value_loss=1.0))

    assert points(state, "tamiyo.policy_loss") == {}


def test_a_value_of_a_dearer_tier_is_held_between_its_measurements():
    state = state_after(PolicyUpdate(grad_zero_fraction=0.25), PolicyUpdate(policy_loss=1.0))

    assert points(state, "tamiyo.grad_zero_fraction") == {SCOPE: 0.25}


def test_a_held_value_that_became_nan_is_no_longer_exported():
    state = state_after(PolicyUpdate(grad_zero_fraction=0.25), PolicyUpdate(grad_zero_fraction=math.nan))

    assert points(state, "tamiyo.grad_zero_fraction") == {}


def test_every_environment_has_its_own_series():
    state = state_after(EpochCompleted(env_id=0, val_accuracy=10.0), EpochCompleted(env_id=1, val_accuracy=20.0))

    assert points(state, "tolaria.val_accuracy") == {(*SCOPE, "0"): 10.0, (*SCOPE, "1"): 20.0}


def test_a_map_becomes_one_series_for_each_key():
    state = state_after(PolicyUpdate(head_entropy={"op": 0.5, "slot": 0.25}))

    assert points(state, "tamiyo.head_entropy") == {(*SCOPE, "op"): 0.5, (*SCOPE, "slot"): 0.25}


def test_a_field_of_a_struct_in_a_map_becomes_a_series_of_that_key():
    state = state_after(EpochCompleted(env_id=0, seeds={"r0c0": SeedSnapshot(alpha=0.5)}))

    assert points(state, "kasmina.seed_alpha") == {(*SCOPE, "0", "r0c0"): 0.5}


def test_a_state_is_one_for_the_current_name_and_zero_for_the_others():
    state = state_after(EpochCompleted(env_id=0, seeds={"r0c0": SeedSnapshot(stage="BLENDING")}))

    found = points(state, "kasmina.seed_state")

    assert found[(*SCOPE, "0", "r0c0", "BLENDING")] == 1.0
    assert sum(found.values()) == 1.0
    assert len(found) == 9


def test_a_unit_is_applied_by_scale():
    state = state_after(PolicyUpdate(update_time_ms=250.0))

    assert points(state, "tamiyo.update.duration")[SCOPE].sum == 0.25


def test_one_exploding_update_is_counted_as_a_critical_violation_and_only_there():
    state = state_after(PolicyUpdate(pre_clip_grad_norm=1.0), PolicyUpdate(pre_clip_grad_norm=500.0))

    assert points(state, "tamiyo.grad_norm_violations") == {(*SCOPE, "warning"): 0.0, (*SCOPE, "critical"): 1.0}


@pytest.mark.parametrize(("norm", "kind"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "inf")])
def test_a_norm_that_is_not_finite_is_counted_by_kind_and_enters_no_histogram(norm, kind):
    state = state_after(PolicyUpdate(pre_clip_grad_norm=norm))

    assert points(state, "tamiyo.nonfinite_updates")[(*SCOPE, kind)] == 1.0
    assert points(state, "tamiyo.pre_clip_grad_norm") == {}
    assert points(state, "tamiyo.grad_norm_violations") == {(*SCOPE, "warning"): 0.0, (*SCOPE, "critical"): 0.0}


def test_a_skipped_update_is_counted_by_reason_and_not_as_an_update():
    state = state_after(UpdateSkipped(reason="nonfinite_gradient", pre_clip_grad_norm=math.nan))

    assert points(state, "tamiyo.skipped_updates")[(*SCOPE, "nonfinite_gradient")] == 1.0
    assert points(state, "tamiyo.updates") == {SCOPE: 0.0}
    assert points(state, "tamiyo.nonfinite_updates")[(*SCOPE, "nan")] == 1.0


def test_counters_exist_at_zero_from_the_start_of_a_run_that_looks_at_everything():
    state = state_after(TrainingStarted(task="test"))

    assert points(state, "tamiyo.grad_norm_violations") == {(*SCOPE, "warning"): 0.0, (*SCOPE, "critical"): 0.0}
    assert points(state, "kasmina.stage_changes")[(*SCOPE, "TRAINING", "BLENDING")] == 0.0
    assert points(state, "tolaria.rollbacks")[(*SCOPE, "governor_nan")] == 0.0


def domains_after(*events: Event) -> set[str]:
    names = {family.name for family in state_after(*events).collect(START_NS)}
    return {signal.domain for signal in SIGNALS if signal.name in names}


@pytest.mark.parametrize(
    "event", [BatchStats(batch=1), Decision(action_name="WAIT"), SeedStageChanged(), EpochCompleted(env_id=0)]
)
def test_counters_of_a_domain_exist_at_zero_from_its_first_event_on_and_no_others(event):
    assert domains_after(event) == {event.domain.value}
    names = {family.name for family in state_after(event).collect(START_NS)}
    assert {s.name for s in SIGNALS if s.domain == event.domain.value and is_counted_from_the_start(s)} <= names


def is_counted_from_the_start(signal: Signal) -> bool:
    is_counter = signal.instrument in {Instrument.COUNTER, Instrument.VIOLATIONS, Instrument.NONFINITE}
    return is_counter and bool(zero_combinations(signal.attributes[2:]))


@pytest.mark.parametrize(
    "event_class", sorted(OF_ANY_PROGRAM, key=lambda cls: cls.event_type), ids=lambda cls: cls.event_type
)
def test_what_is_sent_of_any_program_begins_no_counter_of_another_event(event_class):
    own = {signal.name for signal in SIGNALS if signal.event is event_class}

    assert {family.name for family in state_after(event_class()).collect(START_NS)} <= own | {own_signal.EVENTS.name}


def test_a_framework_that_measures_the_kl_alone_has_no_counter_of_another_limit():
    state = state_after(PolicyUpdate(kl_divergence=0.01))

    assert points(state, "tamiyo.kl_violations") == {(*SCOPE, "warning"): 0.0, (*SCOPE, "critical"): 0.0}
    assert {family.name for family in state.collect(START_NS) if family.name.endswith("_violations")} == {
        "tamiyo.kl_violations"
    }


def test_events_are_counted_by_their_attributes():
    change = SeedStageChanged(from_stage="TRAINING", to_stage="BLENDING")
    state = state_after(change, change)

    assert points(state, "kasmina.stage_changes")[(*SCOPE, "TRAINING", "BLENDING")] == 2.0


def test_booleans_become_true_and_false():
    state = state_after(Decision(action_name="WAIT", action_success=True))

    assert points(state, "tamiyo.decisions")[(*SCOPE, "WAIT", "true")] == 1.0


def test_a_running_total_that_starts_again_goes_on_from_where_it_was():
    state = state_after(*(AllocatorStats(device="cuda:0", num_ooms=count) for count in (2, 5, 1)))

    assert points(state, "tolaria.allocator.ooms") == {(*SCOPE, "cuda:0"): 6.0}


def test_the_maximum_of_the_last_minute_keeps_a_spike_and_then_forgets_it():
    state = state_after(*(PolicyUpdate(pre_clip_grad_norm=norm) for norm in (1.0, 900.0, 2.0)))
    spike_ns = START_NS + SECOND_NS

    assert points(state, "tamiyo.max_pre_clip_grad_norm", spike_ns + 60 * SECOND_NS) == {SCOPE: 900.0}
    assert points(state, "tamiyo.max_pre_clip_grad_norm", spike_ns + 61 * SECOND_NS) == {SCOPE: 2.0}


def test_a_value_beyond_a_closed_set_is_folded_and_the_folding_counted_once():
    state = state_after(PolicyUpdate(head_entropy={"third_eye": 0.5}), PolicyUpdate(head_entropy={"third_eye": 0.6}))

    assert points(state, "tamiyo.head_entropy") == {(*SCOPE, "other"): 0.6}
    assert points(state, "esper.telemetry.folded_values") == {("head",): 1.0}


def test_a_hundred_thousand_environments_make_no_more_series_than_the_limit():
    state = state_after(*(EpochCompleted(env_id=number, val_accuracy=1.0) for number in range(20_000)))

    assert len(points(state, "tolaria.val_accuracy")) == 1025


@pytest.mark.parametrize("odd", [True, 2**70, -0.0])
def test_odd_numbers_are_exported_as_finite_floats(odd):
    exported = points(state_after(PolicyUpdate(policy_loss=odd)), "tamiyo.policy_loss")[SCOPE]

    assert type(exported) is float
    assert exported == float(odd)


def test_a_number_too_large_for_a_float_is_not_exported():
    assert points(state_after(PolicyUpdate(policy_loss=10**400)), "tamiyo.policy_loss") == {}


floats = st.floats(allow_nan=True, allow_infinity=True)
updates = st.builds(
    PolicyUpdate,
    policy_loss=floats,
    pre_clip_grad_norm=floats,
    grad_zero_fraction=st.none() | floats,
    head_entropy=st.dictionaries(st.sampled_from(["op", "slot", "new"]), floats, max_size=3),
)
epochs = st.builds(
    EpochCompleted,
    env_id=st.integers(0, 3),
    val_accuracy=floats,
    seeds=st.dictionaries(st.sampled_from(["r0c0", "r0c1"]), st.builds(SeedSnapshot, alpha=floats), max_size=2),
)
allocations = st.builds(AllocatorStats, device=st.just("cuda:0"), num_ooms=st.integers(0, 5))


@settings(max_examples=60, deadline=None)
@given(st.lists(updates | epochs | allocations, max_size=12), st.data())
def test_a_restart_at_any_event_gives_the_same_metrics_as_none(events, data):
    cut = data.draw(st.integers(0, len(events)))
    whole, first, second = MetricState(), MetricState(), MetricState()
    for number, event in enumerate(events):
        if number == cut:
            second.restore(msgspec.json.decode(msgspec.json.encode(first.snapshot())))
        half = first if number < cut else second
        for state in (whole, half):
            state.apply(event, group_id="default", rank=0, timestamp_ns=START_NS + number)
    if cut == len(events):
        second.restore(msgspec.json.decode(msgspec.json.encode(first.snapshot())))

    assert by_name(second) == by_name(whole)


def by_name(state: MetricState) -> dict[str, dict]:
    return {family.name: family.points for family in state.collect(START_NS)}


def test_a_sum_stays_finite_whatever_is_added_to_it():
    largest = sys.float_info.max
    state = state_after(*(PolicyUpdate(pre_clip_grad_norm=largest) for _ in range(3)))

    point = points(state, "tamiyo.pre_clip_grad_norm")[SCOPE]
    state.restore(msgspec.json.decode(msgspec.json.encode(state.snapshot())))

    assert isinstance(point, HistogramPoint)
    assert (point.count, math.isfinite(point.sum), point.sum >= 3e300) == (3, True, True)
    assert points(state, "tamiyo.pre_clip_grad_norm")[SCOPE] == point


def test_a_histogram_counts_each_value_in_the_first_bucket_that_reaches_it():
    state = state_after(*(PolicyUpdate(pre_clip_grad_norm=norm) for norm in (1.0, 1.0001, 200_000.0)))

    point = points(state, "tamiyo.pre_clip_grad_norm")[SCOPE]

    assert isinstance(point, HistogramPoint)
    assert (point.counts[6], point.counts[7], point.counts[17]) == (1, 1, 1)
    assert point.count == 3


HISTOGRAMS = [signal for signal in SIGNALS if signal.instrument is Instrument.HISTOGRAM and len(signal.path) == 1]


@pytest.mark.parametrize("signal", HISTOGRAMS, ids=lambda signal: signal.name)
@given(values=st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=20))
@settings(max_examples=20, deadline=None)
def test_the_sum_of_a_histogram_never_falls_and_every_observation_is_counted(
    signal: Signal, values: list[float]
) -> None:
    state, sums = MetricState(), [0.0]
    for number, value in enumerate(values):
        state.apply(signal.event(**{signal.path[0]: value}), "default", 0, START_NS + number)
        [point] = points(state, signal.name).values()
        sums.append(point.sum)

    assert sums == sorted(sums)
    assert point.count == sum(point.counts) == len(values)


def test_a_histogram_whose_values_may_be_negative_has_no_sum_on_any_path():
    families = state_after(PolicyUpdate(kl_divergence=0.03), PolicyUpdate(kl_divergence=-0.05)).collect(START_NS)
    [family] = [family for family in families if family.name == "tamiyo.update_kl"]
    data = metrics_data([family], resource=Resource({}), scope=SCOPE_OF_RELAY, start_ns=1, time_ns=2)
    encoded = encode_metrics(data).resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points

    assert {"tamiyo_update_kl_bucket"} == {sample.name for sample in to_prometheus(family).samples}
    assert [(2, False)] == [(point.count, point.HasField("sum")) for point in encoded]


def test_what_was_collected_does_not_change_while_further_events_arrive():
    state = state_after(PolicyUpdate(pre_clip_grad_norm=3.0, policy_loss=1.0))
    collected = state.collect(START_NS)
    before = msgspec.json.encode([list(family.points.values()) for family in collected])
    for _ in range(5):
        state.apply(PolicyUpdate(pre_clip_grad_norm=3.0, policy_loss=2.0), "default", 0, START_NS + 1)

    assert before == msgspec.json.encode([list(family.points.values()) for family in collected])


def test_one_collection_counts_as_many_observations_as_events_while_events_arrive(tmp_path):
    """Events that one thread reads, collected by another."""
    encoder, written = LineEncoder("run", 0), 20_000
    with (tmp_path / "events.jsonl").open("wb") as log:
        for number in range(1, written + 1):
            event = PolicyUpdate(ppo_update_idx=number, pre_clip_grad_norm=3.0)
            log.write(encoder.encode(event, Envelope(number, "g", None, None, number))[0])
    pipeline = MetricsPipeline(
        tmp_path, run_id="run", follow=True, directory=None, liveness=Liveness(None, stall_after_s=60.0)
    )
    read = []

    def follow_the_log() -> None:
        while sum(read) < written:
            read.append(pipeline.step())

    reading = threading.Thread(target=follow_the_log)
    reading.start()
    seen = set()
    while seen.isdisjoint({written}):
        assert reading.is_alive() or sum(read) == written
        by_name = {family.name: family.points for family in pipeline.collect(START_NS)}
        time.sleep(0.002)  # a scrape writes it out later than it was collected, and lets others read
        counted = sum(by_name.get("esper.events", {}).values())
        for point in by_name.get("tamiyo.pre_clip_grad_norm", {}).values():
            assert (point.count, sum(point.counts), point.sum) == (counted, counted, 3.0 * counted)
        seen.add(counted)
    reading.join()
    pipeline.close()

    assert len(seen) > 2
