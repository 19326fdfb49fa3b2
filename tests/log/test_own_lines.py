"""A line of ours decoded in one step says what it says when it is decoded in two."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.events import EVENT_TYPES, Decision, Event
from esper_otel.log.codec import decode, decode_with_event
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.reader import LogReader
from tests.log.arbitrary_events import TEXT, events, structs

AT = 1_795_376_400_123_456_000


def line_of(event: Event, message: str | None = None, severity: str | None = None, group: str = "A") -> bytes:
    return LineEncoder("run-1", 2).encode(event, Envelope(AT, group, severity, message, 7))[0].rstrip(b"\n")


def in_one_step(line: bytes) -> Record | BadLine:
    return decode_with_event(line, "events", 100, 3)


def in_two_steps(line: bytes) -> Record | BadLine:
    return decode(line, "events", 100, 3)


def without_payload(record: Record | BadLine) -> Record:
    assert isinstance(record, Record), record
    return msgspec.structs.replace(record, data=b"", event=None)


def said(line: bytes) -> None:
    """Check that both ways give the same envelope, events and findings."""
    one, two = in_one_step(line), in_two_steps(line)
    assert without_payload(two) == without_payload(one)
    assert isinstance(one, Record)
    assert isinstance(two, Record)
    assert repr(adapt(two)) == repr(adapt(one))  # NaN is not equal to itself


@given(event=events(), message=TEXT, severity=st.none() | TEXT, group=TEXT)
def test_every_event_says_the_same(event: Event, message: str, severity: str | None, group: str) -> None:
    said(line_of(event, message, severity, group))


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_an_event_of_each_type_is_decoded_in_one_step(name: str) -> None:
    @settings(max_examples=5)
    @given(structs(EVENT_TYPES[name]))
    def check(event: Event) -> None:
        record = in_one_step(line_of(event))
        assert isinstance(record, Record)
        if not record.nonfinite:
            assert (event, b"") == (record.event, record.data)

    check()


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"TAMIYO_DECISION"', b'"PPO_UPDATE_COMPLETED"'),
        (b'"TAMIYO_DECISION"', b'"NO_SUCH_EVENT"'),
        (b'"env_id":3', b'"env_id":"three"'),
        (b'"env_id":3', b'"envs":3'),
        (b'"env_id":3', b'"env_id":3,"total_reward":"NaN"'),
        (b'"schema_version":1', b'"schema_version":2'),
        (b'"schema_version":1', b'"schema_version":1,"nonfinite":true'),
        (b',"schema_version":1', b""),
        (b'"data":{"env_id":3}', b'"data":null'),
        (b'"data":{"env_id":3}', b'"data":[]'),
        (b'"seq":7', b'"seq":null'),
        (b'"rank":2', b'"rank":"2"'),
        (b'"group_id":"A"', b'"group_id":""'),
        (b'"timestamp":"2026', b'"timestamp":"1926'),
        (b'"timestamp":"2026', b'"timestamp":"9999'),
    ],
)
def test_what_is_odd_about_a_line_is_read_as_ever(was: bytes, becomes: bytes) -> None:
    line = line_of(Decision(env_id=3))
    assert was in line
    odd = line.replace(was, becomes)

    one, two = in_one_step(odd), in_two_steps(odd)

    if isinstance(two, BadLine):
        assert two == one
    else:
        said(odd)


@given(st.binary())
def test_no_bytes_break_it(line: bytes) -> None:
    assert type(in_two_steps(line)) is type(in_one_step(line))


def test_a_reader_decodes_events_only_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(line_of(Decision(env_id=3)) + b"\n")

    for decode_events, expected in ((True, (Decision(env_id=3), b"")), (False, (None, b'{"env_id":3}'))):
        with LogReader(tmp_path, decode_events=decode_events) as reader:
            [record] = reader.read()
        assert isinstance(record, Record)
        assert expected == (record.event, record.data)
