"""A slice of events that is encoded at once, against its events one by one and value by value."""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.events import Decision, Event, PolicyUpdate, SeedGerminated
from esper_otel.log.encode import Envelope, LineEncoder, null_finder
from esper_otel.log.envelope import Record
from esper_otel.log.queued import Queued
from esper_otel.log.reader import LogReader
from esper_otel.log.writer import Writer
from tests.log.arbitrary_events import TEXT, events

AT = 1_795_376_400_123_456_000
LATEST = 250_000_000_000_000_000_000
"""In the year 9892: beyond 9999 a time has no text."""

ANY_TEXT = (
    TEXT | st.text(st.characters(exclude_categories=[])) | st.sampled_from(["\ud800", '"\\/\n\u2028', "null", ""])
)
TIMES = st.integers(-(10**18), LATEST) | st.integers(AT, AT + 3_000_000_000)
SEVERITIES = st.sampled_from([None, "warning"])
ITEMS = st.lists(st.tuples(events(), TIMES, ANY_TEXT, SEVERITIES, st.none() | ANY_TEXT), min_size=1, max_size=5)
RANKS = st.integers(0, 2**40)


def singly(encoder: LineEncoder, items: list[Queued], first: int) -> Iterator[bytes]:
    for seq, (event, timestamp_ns, group_id, severity, message) in enumerate(items, first):
        assert isinstance(event, Event)
        yield encoder.encode(event, Envelope(timestamp_ns, group_id, severity, message, seq))[0]


def in_order(line: bytes) -> Any:
    """What stands in a line, in its order; without the mark, which a text that says NaN gets by value alone."""
    return [pair for pair in json.loads(line, object_pairs_hook=list) if pair[0] != "nonfinite"]


@given(items=ITEMS, run_id=ANY_TEXT, rank=RANKS, first=st.integers(1, 2**60))
def test_a_slice_has_the_lines_of_its_events_one_by_one(
    items: list[Queued], run_id: str, rank: int, first: int
) -> None:
    at_once = LineEncoder(run_id, rank).encode_slice(items, first)

    assert at_once in (None, b"".join(singly(LineEncoder(run_id, rank), items, first)))


@given(items=ITEMS, run_id=ANY_TEXT, rank=RANKS)
def test_the_way_by_value_writes_what_the_fast_one_writes(items: list[Queued], run_id: str, rank: int) -> None:
    fast, by_value = LineEncoder(run_id, rank), LineEncoder(run_id, rank)
    by_value._find_null = lambda _: 0  # as if every line held a null

    expected = [in_order(line) for line in singly(by_value, items, 1)]
    assert expected == [in_order(line) for line in singly(fast, items, 1)]


@pytest.mark.parametrize(
    "event",
    [
        Decision(env_id=1, slot_id="r0c1", head_confidence={"op": 0.5}),
        PolicyUpdate(policy_loss=1.5, value_loss=np.float32(0.5)),
        SeedGerminated(slot_id='"r0"\n', seed_id="é", epoch=3),
    ],
    ids=lambda event: type(event).__name__,
)
def test_the_usual_events_are_encoded_at_once(event: Event) -> None:
    items: list[Queued] = [(event, AT, "A", None, None), (event, AT + 10**9, "B", "warning", "text")]

    assert b"".join(singly(LineEncoder("r", 0), items, 7)) == LineEncoder("r", 0).encode_slice(items, 7)


@pytest.mark.parametrize(
    "odd",
    [PolicyUpdate(policy_loss=math.nan), PolicyUpdate(head_kl={"op": math.inf}), Decision(slot_id="\ud800"), object()],
    ids=["nan", "infinity", "surrogate", "no event"],
)
def test_a_slice_with_something_odd_in_it_is_left_to_the_way_one_by_one(odd: Any) -> None:
    usual = (Decision(env_id=1), AT, "A", None, None)

    assert LineEncoder("r", 0).encode_slice([usual, (odd, AT, "A", None, None), usual], 1) is None


def test_an_odd_event_leaves_the_others_of_its_slice_as_they_are(tmp_path: Path) -> None:
    odd = {5: PolicyUpdate(policy_loss=math.nan), 40: Decision(slot_id="\ud800"), 60: PolicyUpdate(policy_loss=b"no")}
    writer = Writer(tmp_path / "run", "r", heartbeat_s=0)
    for number in range(200):
        writer.put((odd.get(number, SeedGerminated(slot_id="r0c0", epoch=number)), AT, "A", None, None))
    writer.close()

    with LogReader(tmp_path / "run") as reader:
        records = [item for item in reader.read(1000) if isinstance(item, Record)]
    assert [*range(1, len(records) + 1)] == [record.seq for record in records]
    told = [record for record in records if record.event_type != "TELEMETRY_LOSS"]
    assert [None if number in odd else number for number in range(200)] == [record.epoch for record in told]


@given(before=st.binary(), after=st.binary(), holds=st.booleans())
def test_a_null_is_found_with_and_without_memmem(before: bytes, after: bytes, holds: bool) -> None:
    text = before + b"null" * holds + after
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda name: object())
        by_pattern = null_finder()

    expected = b"null" in text
    assert (expected, expected) == (null_finder()(text) is not None, by_pattern(text) is not None)
