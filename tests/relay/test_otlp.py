"""OTLP export: the official exporters against a real receiver, in fair weather and foul."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from esper_otel.relay.otlp.attempts import SignalExporter
from esper_otel.relay.otlp.exporters import Exporters, otlp_protocol, resource_from_env
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.waiting import own_time_s

RESOURCE = Resource({"service.name": "esper"})


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def span(number: int, **attributes: str | float) -> ReadableSpan:
    context = SpanContext(0xABC, number, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return ReadableSpan(
        "simic.round", context, resource=RESOURCE, attributes=attributes, start_time=1_000, end_time=2_000
    )


def log() -> bytes:
    return LogRecord(
        time_unix_nano=5,
        severity_number=13,
        body=AnyValue(string_value="b"),
        attributes=[KeyValue(key="k", value=AnyValue(double_value=1.5))],
        event_name="tamiyo.policy_update",
    ).SerializeToString()


def metrics() -> MetricsData:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    provider.get_meter("esper_otel").create_counter("tamiyo.updates").add(3)
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    return data


def configured(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str, **extra: str) -> Exporters:
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, **extra}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Exporters.from_env(RESOURCE)


def exporter(found: SignalExporter | None) -> SignalExporter:
    assert found is not None
    return found


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_spans_logs_and_metrics_arrive_over_either_protocol(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str
) -> None:
    exporters = configured(monkeypatch, receiver, protocol, OTEL_EXPORTER_OTLP_HEADERS="x-tenant=esper")

    delivered = [
        exporter(exporters.traces).export([span(7, note="x")]),
        exporter(exporters.logs).export([log()]),
        exporter(exporters.metrics).export(metrics()),
    ]
    exporters.stop()

    assert [True, True, True] == delivered
    assert [(0xABC).to_bytes(16), (7).to_bytes(8), 1_000, 2_000] == [
        receiver.spans[0].trace_id,
        receiver.spans[0].span_id,
        receiver.spans[0].start_time_unix_nano,
        receiver.spans[0].end_time_unix_nano,
    ]
    assert {"note": "x"} == attributes(receiver.spans[0])
    assert ("tamiyo.policy_update", 5, "b") == (
        receiver.logs[0].event_name,
        receiver.logs[0].time_unix_nano,
        receiver.logs[0].body.string_value,
    )
    assert ["tamiyo.updates"] == [metric.name for metric in receiver.metrics]
    assert [{"service.name": "esper"}] * 3 == receiver.resources
    assert ["esper"] * 3 == [headers["x-tenant"] for headers in receiver.headers]
    assert [1, 1, 1] == [active.exported for active in exporters.active]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_compressed_requests_arrive(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str) -> None:
    exporters = configured(monkeypatch, receiver, protocol, OTEL_EXPORTER_OTLP_COMPRESSION="gzip")

    assert exporter(exporters.traces).export([span(1)])
    exporters.stop()

    assert ["simic.round"] == [received.name for received in receiver.spans]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_batch_that_the_receiver_cannot_take_now_is_tried_again_and_arrives_once(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str
) -> None:
    exporters = configured(monkeypatch, receiver, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="0.5")
    traces = exporter(exporters.traces)
    batch = [span(1), span(2)]
    receiver.mode = "unavailable"

    assert not traces.export(batch)
    assert "503" in traces.last_error or "UNAVAILABLE" in traces.last_error
    receiver.mode = "ok"
    assert traces.export(batch)
    exporters.stop()

    assert [1, 2] == [int.from_bytes(received.span_id) for received in receiver.spans]
    assert (2, 2, 0) == (traces.exported, traces.failed, traces.refused)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_of_a_refused_batch_only_the_item_that_cannot_be_taken_is_lost_and_counted(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str
) -> None:
    exporters = configured(monkeypatch, receiver, protocol)
    traces = exporter(exporters.traces)
    receiver.mode = "refuse"
    receiver.refuses = lambda request: b"poison" in request.SerializeToString()

    assert traces.export([span(1), span(2, note="poison"), span(3), span(4)])
    exporters.stop()

    assert [1, 3, 4] == [int.from_bytes(received.span_id) for received in receiver.spans]
    assert (3, 1) == (traces.exported, traces.refused)


def test_a_batch_that_is_too_big_for_a_grpc_receiver_is_sent_in_parts(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver
) -> None:
    exporters = configured(monkeypatch, receiver, "grpc")
    batch = [span(number, note="x" * 1_000_000) for number in range(1, 7)]

    assert exporter(exporters.traces).export(batch)
    exporters.stop()

    assert [1, 2, 3, 4, 5, 6] == [int.from_bytes(received.span_id) for received in receiver.spans]
    assert (6, 0) == (exporter(exporters.traces).exported, exporter(exporters.traces).refused)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_nobody_listening_is_a_failure_that_names_the_endpoint(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    with OtlpReceiver() as receiver:
        exporters = configured(monkeypatch, receiver, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="0.5")
    traces = exporter(exporters.traces)

    assert not traces.export([span(1)])
    exporters.stop()

    assert traces.endpoint in traces.last_error
    assert (0, 1, 0) == (traces.exported, traces.failed, traces.refused)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_receiver_that_hangs_holds_a_call_no_longer_than_it_allows(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str
) -> None:
    exporters = configured(monkeypatch, receiver, protocol)
    receiver.mode = "hang"
    started = own_time_s()

    assert not exporter(exporters.traces).export([span(1)], timeout_s=0.2)
    exporters.stop()
    assert not exporter(exporters.traces).export([span(1)])

    assert own_time_s() - started < 2.0


def test_a_slow_answer_is_taken_up_when_the_same_batch_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver
) -> None:
    exporters = configured(monkeypatch, receiver, "http/protobuf")
    traces = exporter(exporters.traces)
    batch = [span(1)]

    def slow(request: object) -> bool:
        time.sleep(0.3)
        return False

    receiver.refuses = slow
    receiver.mode = "refuse"

    assert not traces.export(batch, timeout_s=0.05)
    assert traces.export(batch, timeout_s=5.0)
    exporters.stop()

    assert 1 == len(receiver.spans)


def test_items_that_the_receiver_says_it_dropped_are_counted(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver
) -> None:
    exporters = configured(monkeypatch, receiver, "http/protobuf")
    receiver.mode = "partial"

    assert exporter(exporters.logs).export([log(), log(), log()])
    exporters.stop()

    assert (2, 1) == (exporter(exporters.logs).exported, exporter(exporters.logs).refused)
    assert "one was too old" in exporter(exporters.logs).last_error


def test_a_signal_can_have_its_own_endpoint_and_protocol(
    monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", receiver.grpc_endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", receiver.http_endpoint + "/v1/logs")
    exporters = Exporters.from_env(RESOURCE)

    assert exporter(exporters.traces).export([span(1)])
    assert exporter(exporters.logs).export([log()])
    exporters.stop()

    assert ["traces", "logs"] == [signal for signal, _ in receiver.requests]
    assert exporters.metrics is None


@pytest.mark.parametrize(
    ("expected", "problems", "env"),
    [
        (None, 0, {}),
        ("http/protobuf", 0, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}),
        ("grpc", 0, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}),
        ("http/protobuf", 0, {"OTEL_TRACES_EXPORTER": "otlp"}),
        ("grpc", 0, {"OTEL_TRACES_EXPORTER": "otlp_proto_grpc"}),
        (None, 0, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}),
        (None, 1, {"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}),
        (None, 0, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}),
        (None, 1, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}),
        (None, 0, {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c:4318"}),
    ],
)
def test_the_standard_variables_decide_whether_and_how_traces_are_exported(
    expected: str | None, problems: int, env: dict[str, str]
) -> None:
    found: list[str] = []

    assert expected == otlp_protocol("traces", env, found)
    assert problems == len(found)


def test_a_bad_variable_turns_the_export_off_and_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli")

    exporters = Exporters.from_env(RESOURCE)

    assert () == exporters.active
    assert 3 == sum("brotli" in problem for problem in exporters.problems)


def test_without_an_endpoint_nothing_is_exported_and_one_line_says_so() -> None:
    exporters = Exporters.from_env(RESOURCE)

    assert () == exporters.active
    assert "OTLP export is off: no OTEL_EXPORTER_OTLP_ENDPOINT is set" == exporters.describe()


def test_resource_variables_override_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab,service.name=ignored")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-run")

    resource = resource_from_env({"service.name": "esper", "esper.run.id": "r1"})

    assert ("my-run", "lab", "r1") == tuple(
        resource.attributes[key] for key in ("service.name", "deployment.environment.name", "esper.run.id")
    )


class Odd:
    """An exporter whose first answer is none of the official ones."""

    def __init__(self) -> None:
        self.answers: list[Any] = [None, SpanExportResult.SUCCESS]

    def export(self, _: Any) -> Any:
        return self.answers.pop(0)

    def shutdown(self) -> None:
        pass


def test_an_exporter_that_misbehaves_delivers_the_same_batch_at_the_next_attempt() -> None:
    exporter = SignalExporter("traces", "http://nowhere", Odd())

    assert not exporter.export(["span"], 5.0)
    assert "AttributeError" in exporter.last_error
    assert exporter.export(["span"], 5.0)
    exporter.stop()
