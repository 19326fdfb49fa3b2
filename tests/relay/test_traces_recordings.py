"""Traces of real esper-lite runs, and their way over the wire."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.events import Event
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.relay.otlp.exporters import Exporters
from esper_otel.relay.otlp.log_records import LogEventProjector
from esper_otel.relay.traces.projector import TraceProjector
from esper_otel.relay.traces.state import MAX_SPANS
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.recorded import RECORDINGS, recording

RESOURCE = Resource({"service.name": "esper"})


def lines(name: str) -> Iterator[tuple[Record, tuple[Event, ...]]]:
    reader = LogReader(recording(name), follow=False, positions=None)
    while batch := reader.read(200):
        for item in batch:
            assert isinstance(item, Record)
            yield item, adapt(item).events


def traced(name: str) -> list[ReadableSpan]:
    projector = TraceProjector(name, RESOURCE)
    spans = [span for record, events in lines(name) for span in projector.feed(record, events)]
    return spans + projector.close()


def times_ns(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_has_one_trace_per_round_and_every_span_lies_in_its_parent(name: str) -> None:
    spans = traced(name)
    counts = Counter(record.event_type for record, _ in lines(name))
    by_id = {(span.context.trace_id, span.context.span_id): span for span in spans}
    by_trace: dict[int, list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        by_trace[span.context.trace_id].append(span)
    names = Counter(span.name for span in spans)

    assert len(spans) == len(by_id)
    assert counts["BATCH_EPOCH_COMPLETED"] == names["simic.round"] == len(by_trace) - 1
    assert [1] * len(by_trace) == [sum(span.parent is None for span in trace) for trace in by_trace.values()]
    assert max(len(trace) for trace in by_trace.values()) <= MAX_SPANS
    for span in spans:
        start_ns, end_ns = times_ns(span)
        assert start_ns <= end_ns
        if span.parent is not None:
            parent_start_ns, parent_end_ns = times_ns(by_id[span.parent.trace_id, span.parent.span_id])
            assert parent_start_ns <= start_ns
            assert end_ns <= parent_end_ns


@pytest.mark.parametrize("name", RECORDINGS)
def test_spans_of_a_recording_are_as_many_as_its_events(name: str) -> None:
    names = Counter(span.name for span in traced(name))
    counts = Counter(record.event_type for record, _ in lines(name))

    assert counts["EPOCH_COMPLETED"] == names["tolaria.epoch"]
    assert counts["EPISODE_OUTCOME"] == names["tolaria.episode"]
    assert counts["PPO_UPDATE_COMPLETED"] == names["tamiyo.policy_update"]
    assert counts["SEED_GERMINATED"] == names["kasmina.seed"]


def test_the_rollback_makes_its_round_anomalous() -> None:
    roots = [span for span in traced("esper-lite-rollback") if span.name == "simic.round"]

    assert "tolaria.rollback" in (roots[0].status.description or "")


def test_going_on_from_a_snapshot_at_every_line_gives_the_same_spans() -> None:
    name = "esper-lite-2env"
    resumed: list[ReadableSpan] = []
    projector = TraceProjector(name, RESOURCE)
    for record, events in lines(name):
        state = json.dumps(projector.snapshot())
        projector = TraceProjector(name, RESOURCE)
        projector.restore(json.loads(state))
        resumed += projector.feed(record, events)
    resumed += projector.close()

    assert [span.to_json() for span in traced(name)] == [span.to_json() for span in resumed]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_recording_arrives_with_its_ids_parents_links_and_times(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    name = "esper-lite-2env"
    spans = traced(name)
    projector, log_events = TraceProjector(name, RESOURCE), LogEventProjector(name)
    logs = []
    for record, events in lines(name):
        projector.feed(record, events)
        logs += log_events.project(record, events, projector.trace_context(record))
    with OtlpReceiver() as receiver:
        endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        exporters = Exporters.from_env(RESOURCE)
        assert exporters.traces is not None
        assert exporters.logs is not None

        assert exporters.traces.export(spans)
        assert exporters.logs.export(logs)
        exporters.stop()

    sent = [
        (
            span.name,
            span.context.trace_id,
            span.context.span_id,
            span.parent.span_id if span.parent else 0,
            [(link.context.trace_id, link.context.span_id) for link in span.links],
            (span.start_time, span.end_time),
        )
        for span in spans
    ]
    received = [
        (
            span.name,
            int.from_bytes(span.trace_id),
            int.from_bytes(span.span_id),
            int.from_bytes(span.parent_span_id),
            [(int.from_bytes(link.trace_id), int.from_bytes(link.span_id)) for link in span.links],
            (span.start_time_unix_nano, span.end_time_unix_nano),
        )
        for span in receiver.spans
    ]
    assert sent == received
    assert [dict(span.attributes or {}).keys() for span in spans] == [
        attributes(span).keys() for span in receiver.spans
    ]
    assert sum(len(events) for _, events in lines(name)) == len(receiver.logs)
    assert {span.trace_id for span in receiver.spans} == {log.trace_id for log in receiver.logs}
    assert {log.span_id for log in receiver.logs} <= {span.span_id for span in receiver.spans}
