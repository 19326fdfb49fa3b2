"""One event to one line and back."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_otel.events import EVENT_TYPES, Decision, Event, PolicyUpdate, SeedGerminated
from esper_otel.log.codec import decode
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.envelope import BadLine, Reason, Record
from tests.log.arbitrary_events import TEXT, as_json, events, structs

AT = 1_795_376_400_123_456_000


def line_of(event: Event, message: str | None = None) -> bytes:
    return LineEncoder("run-1", 2).encode(event, Envelope(AT, "A", None, message, 7))[0]


def lost_of(event: Event) -> tuple[str, ...]:
    return LineEncoder("run-1", 2).encode(event, Envelope(AT, "A", None, None, 7))[1]


def record_of(line: bytes) -> Record:
    record = decode(line)
    assert isinstance(record, Record), record
    return record


@given(event=events(), message=TEXT)
def test_every_value_of_every_event_survives_the_line(event: Event, message: str) -> None:
    line = line_of(event, message)

    assert line.endswith(b"\n")
    assert 1 == line.count(b"\n")
    record = record_of(line)
    assert as_json(event) == json.loads(record.data)
    assert (type(event).event_type, message, AT) == (record.event_type, record.message, record.timestamp_ns)
    assert () == lost_of(event)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_each_event_type_is_read_back_equal_by_the_strict_decoder(name: str) -> None:
    @settings(max_examples=5)
    @given(structs(EVENT_TYPES[name]))
    def check(event: Event) -> None:
        record = record_of(line_of(event))
        if not record.nonfinite:
            assert event == msgspec.json.decode(record.data, type=type(event))

    check()


def test_the_envelope_holds_identity_and_place() -> None:
    record = record_of(line_of(SeedGerminated(slot_id="r0c1", seed_id="s1", epoch=5), message="hello"))

    assert ("run-1-2-7", "run-1", 2, 7, "A") == (
        record.event_id,
        record.run_id,
        record.rank,
        record.seq,
        record.group_id,
    )
    assert ("r0c1", "s1", "hello", "info", 1) == (
        record.slot_id, record.seed_id, record.message, record.severity, record.schema_version,
    )  # fmt: skip


def test_absent_fields_are_left_out_of_the_line() -> None:
    assert b"null" not in line_of(PolicyUpdate(policy_loss=0.5))
    assert {"policy_loss": 0.5} == json.loads(line_of(PolicyUpdate(policy_loss=0.5)))["data"]


def test_times_are_written_with_microseconds_and_an_offset() -> None:
    assert "2026-11-22T19:40:00.123456+00:00" == json.loads(line_of(PolicyUpdate()))["timestamp"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_marked_and_kept(bad: float) -> None:
    record = record_of(line_of(PolicyUpdate(policy_loss=bad, head_entropy={"op": bad})))

    assert record.nonfinite
    assert not record_of(line_of(PolicyUpdate(policy_loss=1.0, head_entropy={"op": 2.0}))).nonfinite
    data = json.loads(record.data)
    assert [str(bad)] * 2 == [str(float(data["policy_loss"])), str(float(data["head_entropy"]["op"]))]


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.float32(1.5),
        np.array(1.5),
        np.longdouble(1.5),
        np.ma.masked_array(1.5),
        torch.tensor(1.5),
        torch.tensor(1.5, requires_grad=True),
        torch.tensor(1.5).bfloat16(),
        torch.tensor(1.5).to(torch.float8_e5m2),
    ],
)
def test_scalars_of_numpy_and_torch_become_numbers(value: Any) -> None:
    event = PolicyUpdate(policy_loss=value)

    assert {"policy_loss": 1.5} == json.loads(line_of(event))["data"]
    assert () == lost_of(event)


class DeviceScalar:
    """Stands where a CUDA tensor would: reading it would wait for the device."""

    ndim = 0
    device = torch.device("cuda", 0)

    def item(self) -> float:
        raise AssertionError("a device value was read")


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: Any = 1.0
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        DeviceScalar(),
        torch.ones(2),
        torch.tensor(1.0, device="meta"),
        b"bytes",
        object(),
        1j,
        10**5000,
        len,
        np.ma.masked,
        np.ma.masked_array(1.5, mask=True),
        np.ma.masked_all(3).mean(),
        np.complex64(1),
        np.datetime64("2026-01-01"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_json_form_is_left_out_and_named(value: Any) -> None:
    event = PolicyUpdate(policy_loss=value, value_loss=math.nan)

    assert {"value_loss": "NaN"} == json.loads(line_of(event))["data"]
    assert ["policy_loss"] == [text.split(":")[0] for text in lost_of(event)]


@pytest.mark.parametrize("value", [CYCLE, DEEP], ids=["cycle", "deep"])
def test_endless_nesting_is_cut_and_named(value: Any) -> None:
    event = PolicyUpdate(policy_loss=value, value_loss=0.25)

    assert 0.25 == json.loads(line_of(event))["data"]["value_loss"]
    assert 1 == len(lost_of(event))


def test_half_a_surrogate_pair_is_replaced() -> None:
    event = SeedGerminated(slot_id="a\ud800b")

    assert "a\ufffdb" == record_of(line_of(event)).slot_id


def test_a_bare_nan_of_another_producer_is_understood() -> None:
    line = b'{"event_id":"1","event_type":"PPO","timestamp":"2026-11-22T19:40:00+00:00","data":{"x":NaN,"y":-Infinity}}'

    record = record_of(line)

    assert ({"x": "NaN", "y": "-Infinity"}, True) == (json.loads(record.data), record.nonfinite)


def test_integers_beyond_64_bits_survive() -> None:
    event = SeedGerminated(rng_seed=2**64 + 1)

    assert 2**64 + 1 == json.loads(record_of(line_of(event)).data)["rng_seed"]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\x00" * 40, b"\xff\xfe", b'{"event_type":"A"}', b'{"timestamp":"x"}',
     b'{"event_type":"A","timestamp":"yesterday"}', b'{"event_type":1,"timestamp":"2026-11-22T19:40:00+00:00"}',
     b"[" * 100_000, b'{"event_type":"A","timestamp":"2026-11-22T19:40:00+00:00","data":' + b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_event_is_malformed(line: bytes) -> None:
    result = decode(line, source="f", offset=9, segment=3)

    assert isinstance(result, BadLine)
    assert (Reason.MALFORMED, "f", 9, 3) == (result.reason, result.source, result.offset, result.segment)


def test_a_strange_envelope_field_does_not_cost_the_event() -> None:
    line = (
        b'{"event_id":7,"event_type":"A","timestamp":"2026-11-22T19:40:00","epoch":3.0,"rank":"x","seq":true,'
        b'"seed_id":["no"],"message":5,"data":{"k":1}}'
    )

    record = record_of(line)

    assert ("7", 3, 0, None, None, "5") == (
        record.event_id, record.epoch, record.rank, record.seq, record.seed_id, record.message,
    )  # fmt: skip
    assert b'{"k":1}' == record.data


@given(st.binary(max_size=200))
def test_no_line_makes_the_decoder_raise(line: bytes) -> None:
    assert isinstance(decode(line), Record | BadLine)


@given(st.data())
def test_a_line_cut_anywhere_is_not_taken_for_an_event(data: st.DataObject) -> None:
    line = line_of(Decision(env_id=1, total_reward=0.5))
    cut = data.draw(st.integers(0, len(line) - 2))

    assert isinstance(decode(line[:cut]), BadLine)
