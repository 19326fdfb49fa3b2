import itertools

import pytest

from trainer.kasmina.alpha import AlphaCurve, AlphaSchedule, shape

CURVES = list(AlphaCurve)


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_starts_at_exactly_0_and_ends_at_exactly_1(curve):
    assert (shape(curve, 0.0), shape(curve, 1.0)) == pytest.approx((0.0, 1.0), abs=1e-15)


@pytest.mark.parametrize("curve", CURVES)
def test_no_curve_ever_falls(curve):
    values = [shape(curve, i / 50) for i in range(51)]

    assert all(later >= earlier for earlier, later in itertools.pairwise(values))


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_is_half_way_at_half_time(curve):
    assert shape(curve, 0.5) == pytest.approx(0.5)


def test_a_sharper_sigmoid_has_travelled_less_at_a_quarter_of_the_time():
    gentle, normal, sharp = (
        shape(c, 0.25) for c in (AlphaCurve.SIGMOID_GENTLE, AlphaCurve.SIGMOID, AlphaCurve.SIGMOID_SHARP)
    )

    assert gentle > normal > sharp


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize(("start", "target"), [(0.0, 0.7), (1.0, 0.5), (0.7, 0.0)])
def test_a_schedule_arrives_at_its_target_exactly_and_stays_there(curve, start, target):
    schedule = AlphaSchedule(start=start, target=target, steps=5, curve=curve)

    assert [target, target] == [schedule.at(5), schedule.at(9)]
    assert schedule.is_done(5)
    assert not schedule.is_done(4)


def test_a_schedule_of_no_steps_jumps():
    assert AlphaSchedule(start=0.2, target=1.0, steps=0, curve=AlphaCurve.COSINE).at(0) == 1.0
