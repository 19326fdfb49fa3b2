"""Spans as bytes: the same message that OpenTelemetry's own encoder makes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from esper_otel.relay.encoding.attributes import attribute_value
from esper_otel.relay.otlp.encoded import OtlpRequest
from esper_otel.relay.traces.build import SpanSink
from esper_otel.relay.traces.encode import encode_span

RESOURCE = Resource({"service.name": "esper", "process.pid": 7}, "https://opentelemetry.io/schemas/1.40.0")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = (
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=8))
    | st.lists(st.booleans(), min_size=1, max_size=3)
    | st.lists(st.integers(), min_size=1, max_size=3)
    | st.lists(st.floats(), min_size=1, max_size=3)
).map(attribute_value)
REFS = st.tuples(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
TIMES = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))


@st.composite
def spans(draw: st.DrawFn) -> ReadableSpan:
    sink = SpanSink(RESOURCE)
    sink.add(
        draw(TEXT),
        draw(REFS),
        draw(TIMES),
        draw(st.dictionaries(TEXT, VALUES, max_size=6)),
        parent=draw(st.none() | REFS),
        links=draw(st.lists(REFS, max_size=2)),
        error=draw(st.none() | TEXT),
    )
    [span] = sink.take_finished()
    return span


@given(st.lists(spans(), min_size=1, max_size=4))
def test_a_request_of_spans_equals_the_one_of_the_official_encoder(finished: list[ReadableSpan]) -> None:
    encoded = OtlpRequest(RESOURCE).encode([encode_span(span) for span in finished])

    assert encode_spans(finished) == ExportTraceServiceRequest.FromString(encoded)


def test_a_flag_and_a_number_that_are_equal_keep_their_types() -> None:
    sink = SpanSink(RESOURCE)
    for value in (True, 1, 1.0, (True,), (1,), (1.0,)):
        sink.add("s", (1, 2), (3, 4), {"key": value})
    finished = sink.take_finished()

    encoded = OtlpRequest(RESOURCE).encode([encode_span(span) for span in finished])

    assert encode_spans(finished) == ExportTraceServiceRequest.FromString(encoded)
