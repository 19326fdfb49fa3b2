"""Log events are sent in requests that a receiver takes."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from esper_otel.relay.otlp.pipeline import parts_of

RECORDS = st.lists(st.binary(max_size=12), max_size=20)


@given(RECORDS, st.integers(1, 20))
def test_every_record_is_sent_once_and_in_order(records: list[bytes], most: int) -> None:
    assert records == [record for part in parts_of(records, most) for record in part]


@given(RECORDS, st.integers(1, 20))
def test_a_request_is_empty_never_and_too_long_only_where_one_record_is(records: list[bytes], most: int) -> None:
    for part in parts_of(records, most):
        assert len(part) == 1 or (part and sum(map(len, part)) <= most)


@given(RECORDS, st.integers(1, 20))
def test_no_two_requests_would_have_fitted_into_one(records: list[bytes], most: int) -> None:
    parts = list(parts_of(records, most))

    for part, following in itertools.pairwise(parts):
        assert sum(map(len, part)) + len(following[0]) > most
