from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from esper_otel.report.sampling import drawn, drawn_together

VALUES = st.lists(st.none() | st.floats(), max_size=600)


@given(VALUES, st.integers(6, 60))
def test_the_largest_the_smallest_and_both_ends_are_always_drawn(values: list[float | None], limit: int) -> None:
    kept = drawn(values, limit)
    finite = [value for value in values if value is not None and math.isfinite(value)]
    shown = [value for i in kept if (value := values[i]) is not None and math.isfinite(value)]

    assert sorted(set(kept)) == kept
    if finite:
        assert (min(finite), max(finite)) == (min(shown), max(shown))
    if values:
        assert {0, len(values) - 1} <= set(kept)


@given(VALUES, st.integers(6, 60))
def test_no_more_points_are_drawn_than_the_limit_and_the_ends(values: list[float | None], limit: int) -> None:
    assert len(drawn(values, limit)) <= limit + 2


@given(VALUES, st.integers(6, 60))
def test_a_series_that_breaks_off_is_seen_to_break_off(values: list[float | None], limit: int) -> None:
    missing = [i for i, value in enumerate(values) if value is None or not math.isfinite(value)]
    kept = drawn(values, limit)

    assert bool(missing) == any(i in missing for i in kept)


@given(st.lists(st.lists(st.floats(0, 1), min_size=300, max_size=300), min_size=1, max_size=8))
def test_stacked_series_keep_the_extremes_of_each(series: list[list[float]]) -> None:
    kept = drawn_together(series, 100)

    assert [max(each) for each in series] == [max(each[i] for i in kept) for each in series]
