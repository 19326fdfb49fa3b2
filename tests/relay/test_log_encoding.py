"""The bytes of a log event: the same message that OpenTelemetry's own encoder makes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord as SdkLogRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from esper_otel.events import EVENT_TYPES, Decision, Event, PolicyUpdate
from esper_otel.log.envelope import Record
from esper_otel.relay.encoding.attribute_plans import MAX_PLANS, AttributePlans
from esper_otel.relay.encoding.attribute_tables import MAX_CACHED_VALUES, SingleValues, Texts
from esper_otel.relay.encoding.attributes import attribute_value, event_attributes
from esper_otel.relay.encoding.wire import attribute, key_field, text_attribute_head
from esper_otel.relay.otlp.encoded import OtlpRequest
from esper_otel.relay.otlp.log_records import LogEventProjector
from esper_otel.relay.traces.build import SCOPE
from tests.otlp_receiver import attributes

LIMIT = 100


def by_name(record: LogRecord) -> LogRecord:
    """The message with its attributes in the order of their names; OTLP gives their order no meaning."""
    ordered = sorted(record.attributes, key=lambda pair: pair.key)
    del record.attributes[:]
    record.attributes.extend(ordered)
    return record


def attributes_alone(record: LogRecord) -> LogRecord:
    return LogRecord(attributes=record.attributes)


def official(log: SdkLogRecord) -> LogRecord:
    [record] = encode_logs([ReadableLogRecord(log, Resource({}), SCOPE)]).resource_logs[0].scope_logs[0].log_records
    return by_name(record)


def planned(plans: AttributePlans, event: Event, limit: int = LIMIT) -> LogRecord:
    return by_name(LogRecord.FromString(b"".join(plans.encode(event, limit)[0])))


def expected(event: Event, limit: int = LIMIT) -> LogRecord:
    return attributes_alone(official(SdkLogRecord(attributes=event_attributes(event, limit=limit))))


SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(st.characters())
ARRAYS = st.one_of(
    *(st.lists(kind, max_size=4) for kind in (st.booleans(), st.integers(-5, 5), st.floats(-1, 1), st.text(max_size=3)))
)


@given(st.text(min_size=1), SCALARS | ARRAYS)
def test_every_kind_of_attribute_is_encoded_as_opentelemetry_encodes_it(key: str, value: Any) -> None:
    clean = attribute_value(value)

    theirs = official(SdkLogRecord(attributes={key: clean}))

    assert attributes_alone(theirs) == LogRecord.FromString(attribute(key, clean))


@given(st.text(min_size=1), st.text(st.characters()))
def test_a_text_is_encoded_alike_with_its_key_prepared(key: str, text: str) -> None:
    encoded = text.encode("utf-8", "replace")

    assert attribute(key, text) == text_attribute_head(key_field(key), len(encoded)) + encoded


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_any_value_becomes_an_attribute_that_decodes(value: object) -> None:
    encoded = LogRecord.FromString(attribute("k", attribute_value(value)))

    assert ["k"] == [pair.key for pair in encoded.attributes]
    assert all(
        not isinstance(item, float) or math.isfinite(item)
        for plain in attributes(encoded).values()
        for item in (plain if isinstance(plain, list) else [plain])
    )


FIELD_VALUES = st.none() | st.floats() | st.integers() | st.booleans() | st.text(max_size=5)
KEYS = st.sampled_from(["op", "slot", "é"])
MAPS = st.dictionaries(KEYS, FIELD_VALUES.filter(lambda value: value is not None))
MAP_FIELDS = {
    "head_confidence": st.floats(),
    "head_choice_entropy": st.floats(),
    "head_forced": st.booleans(),
    "head_choice": st.text(max_size=5),
    "slot_states": st.text(max_size=5),
}
"""Maps hold what they are declared to hold: a line that does not is decoded to one that does."""
DECISIONS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(Decision.__struct_fields__, FIELD_VALUES | MAPS | ARRAYS)
    | {name: FIELD_VALUES | ARRAYS | st.dictionaries(KEYS, kind) for name, kind in MAP_FIELDS.items()},
)
PLANS = AttributePlans()


@given(DECISIONS, st.integers(1, 14) | st.just(LIMIT))
def test_a_planned_event_has_the_attributes_of_one_encoded_value_by_value(fields: dict[str, Any], limit: int) -> None:
    event = Decision(**fields)

    assert expected(event, limit) == planned(PLANS, event, limit)


@given(st.lists(MAPS, min_size=1))
def test_whatever_a_map_holds_it_has_an_attribute_for_each_key(maps: list[dict[str, Any]]) -> None:
    plans = AttributePlans()
    for mapping in maps:
        encoded = planned(plans, Decision(head_confidence=mapping, head_forced=mapping))

        names = {f"tamiyo.{field}.{key}" for field in ("head_confidence", "head_forced") for key in mapping}
        assert names == {pair.key for pair in encoded.attributes}


@pytest.mark.parametrize("cls", EVENT_TYPES.values(), ids=lambda cls: cls.__name__)
def test_a_plan_is_right_for_the_second_event_of_its_shape_too(cls: type[Event]) -> None:
    plans = AttributePlans()
    numbers = {name: float(number) for number, name in enumerate(cls.__struct_fields__)}
    for factor in (1.0, -2.5):
        event = cls(**{name: number * factor for name, number in numbers.items()})

        assert expected(event, 200) == planned(plans, event, 200)


def test_a_number_that_is_not_finite_is_a_text_whatever_was_planned() -> None:
    plans = AttributePlans()
    for value in (1.0, math.nan, math.inf, 2.0):
        event = PolicyUpdate(policy_loss=value, value_loss=0.5, head_entropy={"op": value, "slot": 1.0})

        assert expected(event) == planned(plans, event)


def test_an_event_with_more_values_than_the_limit_is_cut_as_ever() -> None:
    event = Decision(env_id=1, head_confidence=dict.fromkeys("abcdef", 0.5))

    assert expected(event, 4) == planned(AttributePlans(), event, 4)


def test_memory_does_not_grow_with_the_number_of_shapes_and_values() -> None:
    plans = AttributePlans()
    for number in range(MAX_PLANS + 50):
        event = Decision(env_id=1, action_name=f"action {number}", head_confidence={f"head {number}": 1.0})
        assert expected(event) == planned(plans, event)

    [plan] = plans._plans.values()
    assert plan is not None
    assert len(plan.texts) <= MAX_CACHED_VALUES
    assert max(map(len, plan.numbers)) <= MAX_CACHED_VALUES
    assert len(plan.layouts) <= MAX_PLANS


def test_a_whole_log_event_equals_the_one_of_the_official_sdk() -> None:
    record = Record(
        event_id="run-1-0-7", event_type="TAMIYO_DECISION", timestamp_ns=42, run_id="run-1", rank=2, group_id="A",
        epoch=3, seed_id="s", slot_id="r0c0", severity="warning", message="look",
    )  # fmt: skip
    event = Decision(env_id=1, total_reward=0.5)
    trace = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    identity = {
        "esper.event.id": "run-1-0-7", "esper.event.type": "TAMIYO_DECISION", "esper.run.id": "run-1", "esper.rank": 2,
        "esper.group.id": "A", "esper.epoch": 3, "esper.seed.id": "s", "esper.slot.id": "r0c0",
    }  # fmt: skip
    log = SdkLogRecord(
        timestamp=42,
        observed_timestamp=43,
        context=set_span_in_context(NonRecordingSpan(trace), Context()),
        severity_text="WARNING",
        severity_number=SeverityNumber.WARN,
        body="look",
        attributes=identity | {"tamiyo.env_id": 1, "tamiyo.total_reward": 0.5},
        event_name="tamiyo.decision",
    )
    [encoded] = LogEventProjector("other").project(record, (event,), (0xA, 0xB), observed_ns=43)

    assert official(log) == by_name(LogRecord.FromString(encoded))


def test_a_request_names_resource_and_scope_and_holds_every_record() -> None:
    resource = Resource({"service.name": "esper", "process.pid": 7})
    records = [LogRecord(time_unix_nano=number).SerializeToString() for number in range(300)]
    request = ExportLogsServiceRequest.FromString(OtlpRequest(resource).encode(records))
    theirs = encode_logs([ReadableLogRecord(SdkLogRecord(), resource, SCOPE)])
    [scope_logs] = request.resource_logs[0].scope_logs

    assert list(range(300)) == [record.time_unix_nano for record in scope_logs.log_records]
    assert theirs.resource_logs[0].resource == request.resource_logs[0].resource
    assert theirs.resource_logs[0].scope_logs[0].scope == scope_logs.scope


def test_a_number_that_counts_up_for_ever_is_still_remembered_where_it_repeats() -> None:
    numbers, texts = SingleValues("tamiyo.episode_idx"), Texts(["tamiyo.action_name", "tamiyo.action_success"])
    for episode in range(3 * MAX_CACHED_VALUES):
        assert attribute("tamiyo.episode_idx", episode) == numbers[episode]
        assert numbers[episode] is numbers[episode]
        texts[f"ACTION {episode}", True]
        assert texts[f"ACTION {episode}", True] is texts[f"ACTION {episode}", True]
        assert max(len(numbers), len(texts)) <= MAX_CACHED_VALUES
