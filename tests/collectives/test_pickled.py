"""Pickles of plain data are read as Python's loader reads them, and any other is refused."""

from __future__ import annotations

import collections
import contextlib
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.collectives.pickled import MAX_DEPTH, RefusedError, plain_of

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=300)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(VALUES, st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_plain_data_is_read_as_python_reads_it(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol=protocol)

    assert plain_of(data) == pickle.loads(data)


@pytest.mark.parametrize(
    "value", [print, datetime(2026, 3, 1, tzinfo=UTC), collections.OrderedDict(a=1), ValueError("x"), {1, 2}, b"x", 1j]
)
def test_anything_that_is_no_plain_data_is_refused(value: Any) -> None:
    with pytest.raises(RefusedError, match="which plain data does not need"):
        plain_of(pickle.dumps(value, protocol=4))


@given(VALUES, st.data())
def test_a_damaged_file_is_refused_or_read_and_nothing_else(value: Any, draw: st.DataObject) -> None:
    data = bytearray(pickle.dumps(value, protocol=2))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))

    with contextlib.suppress(RefusedError):
        plain_of(bytes(data[: draw.draw(st.integers(0, len(data)))]))


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def cycle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [nested(MAX_DEPTH + 1), cycle(), [nested(MAX_DEPTH - 2)] * 300_000])
def test_what_is_too_deep_or_grows_when_it_is_read_is_refused(value: Any) -> None:
    with pytest.raises(RefusedError, match="levels or has more than"):
        plain_of(pickle.dumps(value, protocol=4))


def test_a_key_that_takes_long_to_compare_is_refused() -> None:
    key: Any = ()
    for _ in range(60):
        key = (key, key)
    data = pickle.dumps([key], protocol=4)  # Python itself would hash 2**60 tuples
    harmful = data.replace(b"]\x94", b"}\x94").replace(b"a.", b"Ns.")

    with pytest.raises(RefusedError):
        plain_of(harmful)
