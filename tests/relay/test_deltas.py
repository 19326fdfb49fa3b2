"""Metrics as what was added: over failures and restarts, the deltas of a series add up to its total, once."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from esper_otel.events import PolicyUpdate
from esper_otel.relay.metrics.families import HistogramPoint
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.otlp.deltas import Deltas
from esper_otel.signals import hardware as hw
from esper_otel.signals import own
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay.processes import lines_of, relay, training
from tests.waiting import PATIENCE_S

START_NS = 1_700_000_000 * 10**9
DELTA = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}


def stored(value: Any) -> Any:
    """``value`` as it comes back from a file."""
    return msgspec.json.decode(msgspec.json.encode(value))


def numbers(families: Any) -> dict[tuple[str, Any], Any]:
    return {
        (family.name, values): (point.count, tuple(point.counts), point.sum)
        if isinstance(point, HistogramPoint)
        else point
        for family in families
        if family.instrument in ("counter", "histogram")
        for values, point in family.points.items()
    }


def total(before: Any, added: Any) -> Any:
    if not isinstance(added, tuple):
        return (before or 0) + added
    count, counts, amount = before or (0, (0,) * len(added[1]), 0.0)
    return count + added[0], tuple(a + b for a, b in zip(counts, added[1], strict=True)), amount + added[2]


@pytest.mark.parametrize("seed", range(10))
def test_deltas_add_up_to_the_totals_whatever_fails_and_whoever_restarts(seed: int) -> None:
    chance = random.Random(seed)
    state, deltas, sums = MetricState(), Deltas(), {}
    checkpoint, kept, end_ns = stored(state.snapshot()), stored(deltas.state), 0
    events = [PolicyUpdate(ppo_update_idx=n, pre_clip_grad_norm=2.0**-n, clip_fraction=0.5) for n in range(200)]
    done = saved = now_ns = 0
    while done < len(events) or numbers(state.collect(START_NS)) != sums:
        for event in events[done : done + chance.randrange(10)]:
            state.apply(event, "g", done % 2, START_NS + done)
            done += 1
        now_ns += 1
        interval = deltas.interval(state.collect(START_NS), began_ns=START_NS, now_ns=START_NS + now_ns)
        if chance.random() < 0.6:  # it arrives
            assert end_ns in {0, interval.start_ns}
            end_ns = interval.end_ns
            for key, added in numbers(interval.families).items():
                sums[key] = total(sums.get(key), added)
            deltas.deliver(interval)
            kept = stored(deltas.state)
        if chance.random() < 0.2:
            checkpoint, saved = stored(state.snapshot()), done
        if chance.random() < 0.2:  # the relay is killed; the next one reads again what came after the checkpoint
            state, deltas, done = MetricState(), Deltas(kept), saved
            state.restore(checkpoint)

    assert numbers(state.collect(START_NS)) == sums


def test_counters_of_the_relay_s_process_begin_anew_with_it_and_those_of_the_driver_before_it() -> None:
    state = MetricState()
    state.own = {own.EXPORTED.name: {("logs",): 7.0}, hw.ERRORS.name: {("gpu",): 40.0}}
    first = Deltas()
    before = first.interval(state.collect(0), began_ns=1, now_ns=2)
    first.deliver(before)
    state.own = {own.EXPORTED.name: {("logs",): 3.0}, hw.ERRORS.name: {("gpu",): 41.0}}
    after = Deltas(stored(first.state)).interval(state.collect(0), began_ns=1, now_ns=3)
    same = first.interval(state.collect(0), began_ns=1, now_ns=3)

    assert {(own.EXPORTED.name, ("logs",)): 7.0, (hw.ERRORS.name, ("gpu",)): 0.0} == numbers(before.families)
    assert {(own.EXPORTED.name, ("logs",)): 3.0, (hw.ERRORS.name, ("gpu",)): 0.0} == numbers(after.families)
    assert {(own.EXPORTED.name, ("logs",)): 3.0, (hw.ERRORS.name, ("gpu",)): 1.0} == numbers(same.families)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def sums_of(receiver: OtlpReceiver, name: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for metric in receiver.metrics:
        if metric.name == name:
            for point in metric.sum.data_points:
                found[attributes(point).get("event_type", "")] += point.as_double
    return dict(found)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_run_that_is_relayed_in_two_parts_is_counted_once_by_a_back_end_that_adds_up(
    tmp_path: Path, receiver: OtlpReceiver, protocol: str
) -> None:
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    env = {**DELTA, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    for _ in range(2):
        with training(tmp_path, "--rounds", "3") as trainer:
            trainer.communicate(timeout=PATIENCE_S)
        with relay(tmp_path / "run", "--linger", "0", **env) as sender:
            sender.communicate(timeout=PATIENCE_S)
        assert 0 == sender.returncode
    written = [line["event_type"] for line in lines_of(tmp_path / "run")]
    histograms = [metric.histogram for metric in receiver.metrics if metric.name == "tamiyo.pre_clip_grad_norm"]

    assert {kind: float(written.count(kind)) for kind in set(written)} == sums_of(receiver, "esper.events")
    assert written.count("TAMIYO_POLICY_UPDATE") == sum(p.count for h in histograms for p in h.data_points)
    kinds = {m.sum.aggregation_temporality for m in receiver.metrics if m.HasField("sum") and m.sum.is_monotonic}
    kinds |= {histogram.aggregation_temporality for histogram in histograms}
    assert {AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA} == kinds
