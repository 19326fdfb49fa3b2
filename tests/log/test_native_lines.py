"""Lines encoded in C have the bytes of those encoded in Python, for every event and every odd value."""

from __future__ import annotations

import enum
import gc
import math
import struct
import time
import weakref
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_otel.events import EVENT_TYPES, Decision, Event, PolicyUpdate, SeedGerminated, UpdateSkipped
from esper_otel.events.declare import CUSTOM_TYPES, Domain, declares, note
from esper_otel.log.writer import Writer
from esper_otel.log.writing.plans import MOST_PLANS, is_plain
from esper_otel.native import core
from esper_otel.native.plan import packed_shape
from tests.log.arbitrary_events import events
from tests.log.native_queue import built, offset_ns, oracle, recorder, slices, taken

pytestmark = built


def fields_of(event: Event) -> dict[str, Any]:
    given = {field.name: getattr(event, field.name) for field in msgspec.structs.fields(type(event))}
    required = {field.name for field in msgspec.structs.fields(type(event)) if field.required}
    return {name: value for name, value in given.items() if value is not None or name in required}


@settings(deadline=None)
@given(found=st.lists(events(), min_size=1, max_size=4))
def test_recorded_events_of_any_class_have_the_lines_of_the_encoder_in_python(found: list[Event]) -> None:
    queue = slices()
    for event in found:
        recorder(queue, type(event), *fields_of(event))(**fields_of(event))

    lines = [line for _, line in taken(queue)]
    assert [oracle(event, line, seq) for seq, (event, line) in enumerate(zip(found, lines, strict=True), 1)] == lines


@settings(deadline=None)
@given(found=st.lists(events(), min_size=1, max_size=4), at=st.integers(-(10**18), 2**62))
def test_emitted_events_of_any_class_have_the_lines_of_the_encoder_in_python(found: list[Event], at: int) -> None:
    queue = slices()
    for _ in range(2):  # the first of its class is encoded in Python
        for event in found:
            queue.queue.put((event, at, "A", None, None))
        lines = [line for _, line in taken(queue)]

    begin = len(found) + 1
    assert [
        oracle(event, line, seq) for seq, (event, line) in enumerate(zip(found, lines, strict=True), begin)
    ] == lines


@pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=lambda event: event.__name__)
def test_every_class_of_the_contract_is_copied(event: type[Event]) -> None:
    plain = {name: number + 0.5 for number, name in enumerate(event.__struct_fields__)}
    queue = slices()
    recorder(queue, event, *plain)(**plain)
    queue.queue.put((event(**plain), time.time_ns(), "A", None, None))
    if not plain:
        return

    assert [True] == [is_native for is_native, _ in taken(queue)][:1]


def test_a_field_that_is_declared_needs_nothing_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CUSTOM_TYPES, "MY_EVENT", Event)  # and taken out again afterwards

    @declares("MY_EVENT", domain=Domain.SIMIC)
    class Mine(Event, frozen=True, kw_only=True):
        known: Annotated[str | None, note("A name.")] = None
        added: Annotated[dict[str, float] | None, note("What was added today.")] = None

    queue, item = slices(), (Mine(known="a", added={"op": 0.1}), time.time_ns(), "A", None, None)
    queue.queue.put(item)
    [_, (was_native_at_once, in_python)] = taken(queue)  # the first is its declaration
    queue.queue.put(item)
    [(was_native, line)] = taken(queue)

    assert (False, True) == (was_native_at_once, was_native)
    assert {"known": "a", "added": {"op": 0.1}} == msgspec.json.decode(line)["data"]
    assert in_python.replace(b'-2"', b'-3"').replace(b'"seq":2,', b'"seq":3,') == line


@settings(deadline=None)
@given(st.floats() | st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("d", struct.pack("Q", bits))[0]))
def test_every_number_has_the_shortest_text_that_python_would_write(number: float) -> None:
    assert_equal(PolicyUpdate(policy_loss=number))


def test_powers_of_two_and_their_neighbours_have_the_shortest_text() -> None:
    powers = [math.ldexp(1.0, exponent) for exponent in range(-1074, 1024)]
    assert_equal(
        *[
            PolicyUpdate(policy_loss=power, value_loss=math.nextafter(power, 0), entropy=math.nextafter(power, 9e307))
            for power in powers
        ]
    )


def test_denormal_numbers_keep_their_text_where_torch_has_the_processor_flush_them() -> None:
    smallest = [5e-324, -5e-324, 2.225073858507201e-308]
    torch.set_flush_denormal(True)
    try:
        assert_equal(*[PolicyUpdate(policy_loss=number) for number in smallest])
    finally:
        torch.set_flush_denormal(False)


@settings(deadline=None)
@given(text=st.text() | st.sampled_from(["null", 'Infinity"', '"NaN"', "NaN", "-Infinity", "\x7f\u2028", "é" * 40]))
def test_any_text_is_quoted_as_python_would_quote_it(text: str) -> None:
    for _ in range(3):  # what comes again is known and is not copied again
        assert_equal(Decision(slot_id=text, head_choice={text: text, "null": "a"}))


@pytest.mark.parametrize("text", ["\x01" * 32, '"' * 32, "\x01" * 33, "é" * 16, "x" * 32, "x" * 33, ""])
def test_texts_that_come_again_may_have_any_bytes(text: str) -> None:
    for _ in range(4):
        assert_equal(*[Decision(slot_id=text, blueprint_id=text, head_choice={text: text})] * 3)


class Kind(enum.StrEnum):
    ONE = "one"


class Number(float):
    pass


class Nested(msgspec.Struct):
    value: int | None = None


def deep(levels: int) -> list[Any]:
    return [deep(levels - 1)] if levels else []


class Loop(list[Any]):
    pass


looped: list[Any] = []
looped.append(looped)

ODD = {
    "enum": Kind.ONE, "subclass of float": Number(0.5), "subclass of list": Loop([1]), "bytes": b"no", "set": {1.5},
    "numpy float": np.float64(0.1), "numpy scalar": np.float32(0.1), "numpy array": np.zeros(3), "numpy bool": np.True_,
    "large integer": 2**64, "negative": -(2**63) - 1, "smallest": -(2**63), "nan": math.nan, "-0.0": -0.0, "empty": {},
    "struct": Nested(), "object": object(), "surrogate": "\ud800", "cycle": looped, "tuple": (1, ("a", ())),
    "16 levels": deep(16), "17 levels": deep(17), "100 levels": deep(100),
    "long text": "x" * 100_000, "long list": [0.5] * 10_000, "keys": {1: 2.0, 0.5: 3}, "odd key": {(1, 2): 3},
    "ordered": OrderedDict(a=None), "none inside": {"a": None, "b": [None, math.nan]},
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("field", ["value_estimate", "slot_id", "inner_epoch"])
def test_an_odd_value_is_written_as_python_would_write_it(odd: Any, field: str) -> None:
    assert_equal(Decision(**{"env_id": 1, field: odd}), Decision(env_id=1, head_confidence={"op": odd}))


PLACES = [(event, field) for event in EVENT_TYPES.values() for field in event.__struct_fields__]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(list(ODD))), min_size=1, max_size=4))
def test_any_odd_value_in_any_field_of_any_class_is_written_as_python_would_write_it(
    choices: list[tuple[tuple[type[Event], str], str]],
) -> None:
    assert_equal(*[event_with(event, field, ODD[odd]) for (event, field), odd in choices])


@pytest.mark.parametrize("severity", [None, "warning"])
def test_a_recorder_has_the_group_and_severity_that_it_was_made_with(severity: str | None) -> None:
    queue, group = slices(), 'a "group" é'
    recorder(queue, Decision, "env_id", group=group, severity=severity)(env_id=1)

    found = taken(queue)
    assert [(True, oracle(Decision(env_id=1), line, 1, group, severity)) for _, line in found] == found


def test_a_required_field_without_a_value_is_absent_as_in_python() -> None:
    assert_equal(UpdateSkipped(reason=None))  # type: ignore[arg-type]


def test_events_keep_their_order_whatever_road_they_take() -> None:
    queue = slices()
    record = recorder(queue, Decision, "env_id", "slot_id")
    for number in range(300):
        odd = "\ud800" if number % 7 == 0 else "r0c0"
        if number % 3:
            record(env_id=number, slot_id=odd)
        else:
            queue.queue.put((Decision(env_id=number, slot_id=odd), time.time_ns(), "A", None, None))

    lines = [msgspec.json.decode(line) for _, line in taken(queue)]
    assert [(number + 1, number) for number in range(300)] == [(line["seq"], line["data"]["env_id"]) for line in lines]


def test_a_full_queue_refuses_events_and_copies_alike() -> None:
    refused: list[None] = []
    queue = slices(refused=refused)
    queue.queue.limit = 10
    record = recorder(queue, Decision, "env_id")
    for number in range(8):
        record(env_id=number)
        queue.queue.put((Decision(env_id=number), time.time_ns(), "A", None, None))

    assert (10, 6) == (len(queue.queue), len(refused))
    assert [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] == [msgspec.json.decode(line)["data"]["env_id"] for _, line in taken(queue)]


def test_values_that_take_more_memory_than_allowed_are_refused() -> None:
    refused: list[None] = []
    queue = slices(refused=refused)
    queue.queue.bytes = 100_000  # type: ignore[attr-defined]
    record = recorder(queue, Decision, "slot_id")
    for number in range(100):
        record(slot_id=f"{number}" * 5000)

    assert len(queue.queue) + len(refused) == 100
    assert 5 < len(refused) < 95


def test_a_change_of_a_map_after_the_call_does_not_reach_the_log() -> None:
    queue, by_head = slices(), {"op": 0.5}
    recorder(queue, Decision, "head_confidence")(head_confidence=by_head)
    by_head["op"] = 0.75

    assert {"op": 0.5} == msgspec.json.decode(taken(queue)[0][1])["data"]["head_confidence"]


def test_lines_that_could_not_be_handed_over_come_again_with_the_same_numbers() -> None:
    queue = slices()
    recorder(queue, SeedGerminated, "slot_id")(slot_id="r0c0")
    with pytest.raises(KeyboardInterrupt), queue.first() as (first, _, _):
        raise KeyboardInterrupt

    assert [(True, first.removesuffix(b"\n"))] == taken(queue)


def test_times_before_a_step_of_the_clock_was_noticed_are_corrected() -> None:
    queue = slices(shift=(time.time_ns(), 3600 * 10**9, 10**9))
    recorder(queue, Decision, "env_id")(env_id=1)
    now_s = (offset_ns() + time.monotonic_ns()) / 1e9

    line = msgspec.json.decode(taken(queue)[0][1])
    assert now_s + 3600 == pytest.approx(msgspec.convert(line["timestamp"], type=datetime).timestamp(), abs=60)


def test_a_queue_lets_go_of_its_events() -> None:
    class Held:
        pass

    held, queue = Held(), slices()
    alive = weakref.ref(held)
    queue.queue.put((Decision(slot_id=held), time.time_ns(), "A", None, None))  # type: ignore[arg-type]
    del held
    assert alive() is not None
    del queue
    gc.collect()

    assert alive() is None


def test_a_class_with_other_defaults_or_code_of_its_own_is_left_to_python() -> None:
    class Plain(Event, frozen=True, kw_only=True):
        value: float | None = None

    class Zero(Event, frozen=True, kw_only=True):
        value: float = 0.0

    class Made(Event, frozen=True, kw_only=True):
        values: list[float] = []  # noqa: RUF012  # msgspec copies it

    class Checked(Event, frozen=True, kw_only=True):
        value: float | None = None

        def __post_init__(self) -> None:
            raise ValueError

    class Tagged(Event, frozen=True, kw_only=True, tag="t"):
        value: float | None = None

    assert [True, False, False, False, False] == [is_plain(cls) for cls in (Plain, Zero, Made, Checked, Tagged)]


def test_a_closed_writer_is_let_go(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run", "r", heartbeat_s=0)
    native = core().Recorder()
    native.shapes, native.slow = {("env_id",): packed_shape(Decision.__struct_fields__, ("env_id",))}, None
    writer.bind(native, Decision, "A", None)
    native.record(env_id=1)
    writer.close()
    alive = weakref.ref(writer)
    del writer
    gc.collect()

    assert alive() is None
    assert not native.queue.is_open


def event_with(event: type[Event], field: str, odd: Any) -> Event:
    """An event with ``odd`` in one field, and with those that it must have."""
    required = {given.name: 0.5 for given in msgspec.structs.fields(event) if given.required}
    return event(**required | {field: odd})


def assert_equal(*found: Event) -> None:
    """Recorded, and emitted once a plan is known, each event has the line that Python writes."""
    queue = slices()
    for event in found:
        recorder(queue, type(event), *fields_of(event))(**fields_of(event))
    for _ in range(2):
        for event in found:
            queue.queue.put((event, time.time_ns(), "A", None, None))
    lines = [line for _, line in taken(queue)]

    assert [
        oracle(event, line, seq) for seq, (event, line) in enumerate(zip(found * 3, lines, strict=True), 1)
    ] == lines


def test_groups_without_a_bound_take_the_road_in_python() -> None:
    """A plan costs 0.3 ms and stays: a group of its own for each event would cost that for every event, for ever."""
    queue = slices()
    found = [Decision(env_id=number) for number in range(2 * MOST_PLANS)]
    for _ in range(2):
        for event in found:
            queue.queue.put((event, time.time_ns(), f"group {event.env_id}", None, None))
        lines = taken(queue)
    queue.queue.put((found[0], time.time_ns(), "group 0", None, None))
    queue.queue.put((found[-1], time.time_ns(), f"group {found[-1].env_id}", None, None))

    assert len(queue.queue.plans) <= MOST_PLANS
    assert [True, False] == [was_native for was_native, _ in taken(queue)]
    assert all(
        oracle(event, line, len(found) + seq, f"group {event.env_id}") == line
        for seq, (event, (_, line)) in enumerate(zip(found, lines, strict=True), 1)
    )


def test_recorders_of_groups_without_a_bound_are_not_bound() -> None:
    queue = slices()
    for number in range(2 * MOST_PLANS):
        recorder(queue, Decision, "env_id", group=f"group {number}")(env_id=number)

    was_native = [native for native, _ in taken(queue)]
    assert [True] * MOST_PLANS == was_native[:MOST_PLANS]
    assert not any(was_native[MOST_PLANS:])
