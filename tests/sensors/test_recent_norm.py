"""The largest norm of late: an explosion stands out of norms of any size and spread, healthy norms do not."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.events.training_update import EXCESS_THRESHOLD
from esper_otel.sensors.updating.recent import FLOOR, UNJUDGED, RecentNorm

CRITICAL = EXCESS_THRESHOLD.critical_above or math.nan
WARNING = EXCESS_THRESHOLD.warning_above or math.nan


def excesses(*norms: float) -> list[float | None]:
    recent = RecentNorm()
    return [recent.excess(norm) for norm in norms]


def critical(*norms: float) -> list[int]:
    return [place for place, found in enumerate(excesses(*norms)) if found is not None and found > CRITICAL]


def spread(count: int, size: float, seed: int = 1) -> list[float]:
    """Norms of a healthy program: most within a decade."""
    chance = random.Random(seed)
    return [size * chance.lognormvariate(0.0, 0.6) for _ in range(count)]


@pytest.mark.parametrize("size", [0.001, 0.1, 7.0, 2000.0])
@pytest.mark.parametrize("before", [UNJUDGED, 200])
def test_an_update_a_hundred_times_above_the_largest_stands_out_of_norms_of_any_size(size: float, before: int) -> None:
    found = excesses(*[size] * before, 100 * max(size, FLOOR))

    assert found[-1] == pytest.approx(100.0)


@pytest.mark.parametrize("size", [0.5, 40.0, 2000.0])
def test_every_norm_a_thousand_times_as_large_stands_out_wherever_it_falls_and_no_other_does(size: float) -> None:
    healthy = spread(2000, size)
    assert critical(*healthy) == []

    for place in random.Random(2).sample(range(UNJUDGED, 2000), 100):
        assert critical(*healthy[:place], 1000 * healthy[place], *healthy[place + 1 :]) == [place]


@given(st.floats(0.01, 5000.0), st.lists(st.floats(0.4, 2.5), min_size=30, max_size=120))
def test_norms_that_stay_near_their_own_size_do_not_stand_out(size: float, factors: list[float]) -> None:
    assert critical(*(size * factor for factor in factors)) == []


@pytest.mark.parametrize("rate", [0.997, 1.003])
def test_norms_that_drift_over_decades_do_not_stand_out(rate: float) -> None:
    found = excesses(*(norm * rate**number for number, norm in enumerate(spread(5000, 10.0))))

    assert all(value is None or value < WARNING for value in found)


def test_the_first_norms_after_a_long_lull_of_a_schedule_do_not_stand_out() -> None:
    cycle = [0.05] * 200 + [1.0] * 50

    assert critical(*cycle * 8) == []


def test_one_jump_does_not_hide_the_next() -> None:
    assert critical(*[1.0] * 50, 5000.0, 1.0, 5000.0) == [50, 52]


def test_a_norm_that_explodes_and_stays_there_stands_out_until_it_is_the_usual_one() -> None:
    found = critical(*[1.0] * 50, *[1000.0] * 200)

    assert found == list(range(50, 50 + len(found)))
    assert 5 < len(found) < 50


def test_norms_that_double_with_every_update_stand_out_before_they_have_grown_ten_thousandfold() -> None:
    assert critical(*[1.0] * 50, *(2.0**number for number in range(20)))[0] < 50 + math.log2(10_000)


def test_the_first_updates_say_how_large_norms_are_and_are_not_judged() -> None:
    assert excesses(*[5e4] * UNJUDGED, 5e4) == [*[None] * UNJUDGED, pytest.approx(1.0)]


@pytest.mark.parametrize("norm", [None, math.nan, math.inf])
def test_what_is_no_number_has_no_excess_and_leaves_the_largest_alone(norm: float | None) -> None:
    recent = RecentNorm()
    for _ in range(UNJUDGED):
        recent.excess(50.0)

    assert recent.excess(norm) is None
    assert recent.excess(100.0) == pytest.approx(2.0)


def test_updates_without_a_gradient_do_not_make_the_next_stand_out() -> None:
    assert excesses(*[50.0] * UNJUDGED, *[0.0] * 1000, 50.0)[-2:] == [0.0, pytest.approx(1.0)]


@given(st.lists(st.floats(0.0, 1e300), max_size=50))
def test_any_norms_give_a_finite_excess_of_0_or_more(norms: list[float]) -> None:
    assert all(value is None or 0.0 <= value < math.inf for value in excesses(*norms))
