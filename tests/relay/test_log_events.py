"""Log events: every event of the log with its name, severity, ids and values."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from esper_otel.events import (
    Decision,
    EpochCompleted,
    Event,
    GradientAnomaly,
    PhaseProfile,
    PhaseTiming,
    PolicyUpdate,
    RewardComputed,
    SeedGerminated,
    UpdateSkipped,
)
from esper_otel.events.vocabulary import HEADS
from esper_otel.log.envelope import Record
from esper_otel.relay.encoding.attributes import MAX_TEXT_BYTES, cut_text, event_attributes
from esper_otel.relay.otlp.log_records import MAX_ATTRIBUTES, LogEventProjector
from esper_otel.relay.trace_ids import round_trace_id, run_trace_id, span_id
from tests.otlp_receiver import attributes


def record(**fields: object) -> Record:
    return Record(event_id="e1", event_type="TAMIYO_POLICY_UPDATE", timestamp_ns=42, **fields)  # type: ignore[arg-type]


def project(line: Record, *events: Event, reason: str | None = None) -> list[LogRecord]:
    logs = LogEventProjector("run-1").project(line, events, (0xA, 0xB), reason, observed_ns=43)
    return [LogRecord.FromString(log) for log in logs]


def test_a_log_event_carries_name_times_severity_ids_and_values() -> None:
    line = record(severity="warning", message="look", epoch=3, slot_id="r0c0")
    [encoded] = project(line, PolicyUpdate(policy_loss=0.5, pre_clip_grad_norm=math.nan, head_entropy={"op": 0.25}))

    assert {
        "name": encoded.event_name,
        "times": (encoded.time_unix_nano, encoded.observed_time_unix_nano),
        "severity": (encoded.severity_number, encoded.severity_text),
        "body": encoded.body.string_value,
        "ids": (encoded.trace_id[-1], encoded.span_id[-1]),
        "attributes": attributes(encoded),
    } == snapshot(
        {
            "name": "tamiyo.policy_update",
            "times": (42, 43),
            "severity": (13, "WARNING"),
            "body": "look",
            "ids": (10, 11),
            "attributes": {
                "esper.event.id": "e1",
                "esper.event.type": "TAMIYO_POLICY_UPDATE",
                "esper.run.id": "run-1",
                "esper.rank": 0,
                "esper.group.id": "default",
                "esper.epoch": 3,
                "esper.slot.id": "r0c0",
                "tamiyo.policy_loss": 0.5,
                "tamiyo.pre_clip_grad_norm": "NaN",
                "tamiyo.head_entropy.op": 0.25,
            },
        }
    )


def test_an_event_without_a_message_is_summed_up_in_one_line() -> None:
    [log] = project(record(), UpdateSkipped(reason="nonfinite_loss", batch=2))

    assert "tamiyo.update_skipped reason=nonfinite_loss batch=2" == log.body.string_value


def test_the_events_of_one_line_are_log_events_that_share_its_id() -> None:
    logs = project(record(), Decision(env_id=1), RewardComputed(env_id=1))

    assert ["tamiyo.decision", "simic.reward_computed"] == [log.event_name for log in logs]
    assert ["e1", "e1"] == [attributes(log)["esper.event.id"] for log in logs]


def test_a_line_that_is_no_event_is_kept_with_its_payload_and_the_reason() -> None:
    [log] = project(record(data=b'{"x": ' + b"1" * 20_000 + b"}", severity="odd"), reason="unknown_event_type")

    assert ("esper.unknown", 0) == (log.event_name, log.severity_number)
    assert 16_384 == len(log.body.string_value)
    assert "unknown_event_type" == attributes(log)["esper.unknown.reason"]


def test_an_event_with_more_values_than_attributes_packs_its_maps_and_loses_none() -> None:
    declared = PolicyUpdate.__annotations__.items()
    maps: dict[str, Any] = {
        name: dict.fromkeys(HEADS, 0.5) for name, kind in declared if "dict[str, float]" in str(kind)
    }
    [log] = project(record(), PolicyUpdate(policy_loss=1.0, **maps))
    values = attributes(log)

    assert len(maps) > 16
    assert len(values) <= MAX_ATTRIBUTES
    assert "esper.attributes.dropped" not in values
    assert 0.5 == values["tamiyo.head_entropy.op"]
    assert set() == {name for name in maps if not any(key.startswith(f"tamiyo.{name}") for key in values)}


def test_values_beyond_the_limit_are_counted() -> None:
    found = event_attributes(EpochCompleted(env_id=0, val_loss=1.0, val_accuracy=2.0, host_train_loss=3.0), limit=3)

    assert {"tolaria.env_id": 0, "tolaria.val_accuracy": 2.0, "esper.attributes.dropped": 2} == found


def test_nested_values_become_json_text_that_keeps_what_json_cannot_say() -> None:
    phases = event_attributes(PhaseProfile(phases={"train": PhaseTiming(wall_ms=math.inf)}), limit=9)
    layers = event_attributes(GradientAnomaly(gradient_stats=({"layer": "a", "norm": math.nan},)), limit=9)

    assert {"tolaria.phases.train": '{"wall_ms":"Infinity"}'} == phases
    assert {"simic.gradient_stats": '[{"layer":"a","norm":"NaN"}]'} == layers


def test_an_integer_beyond_64_bits_is_a_text() -> None:
    assert {"kasmina.rng_seed": str(2**64)} == event_attributes(SeedGerminated(rng_seed=2**64), limit=9)


@given(st.text(st.characters(), max_size=2_000))
def test_a_cut_text_is_valid_and_no_longer_than_its_limit(text: str) -> None:
    cut = cut_text(text).encode()

    assert len(cut) <= MAX_TEXT_BYTES
    assert len(cut) > MAX_TEXT_BYTES - 4 or cut == text.encode("utf-8", "replace")


@given(st.text(), st.text(), st.integers(0, 2**40))
def test_trace_ids_fit_and_differ_by_run_group_and_round(run_id: str, group: str, number: int) -> None:
    trace = round_trace_id(run_id, group, number)

    assert 0 < trace < 2**128
    assert 0 < span_id(trace, "epoch", 0, "a") < 2**64
    assert 6 == len(
        {
            trace,
            round_trace_id(run_id, group, number + 1),
            round_trace_id(run_id + "x", group, number),
            round_trace_id(run_id, group + "x", number),
            run_trace_id(run_id, group),
            run_trace_id(run_id + "x", group),
        }
    )
