"""A limit in an alert is the one at the signal's field, counted or not."""

from __future__ import annotations

import pytest

from esper_otel.alerts.promql import limit
from esper_otel.signals import SIGNALS

SIDES = ("warning_above", "critical_above", "warning_below", "critical_below")
LIMITED = {signal.name: signal.threshold or signal.limits for signal in reversed(SIGNALS)}


@pytest.mark.parametrize("name", sorted(name for name, found in LIMITED.items() if found is not None))
def test_every_limit_of_a_field_can_be_read_by_the_name_of_its_metric(name: str) -> None:
    found = LIMITED[name]
    given = {side: value for side in SIDES if (value := getattr(found, side)) is not None}

    assert given
    assert {side: f"{value:g}" for side, value in given.items()} == {side: limit(name, side) for side in given}


def test_a_metric_without_limits_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match=r"metric 'tamiyo\.updates' has no limits; give it"):
        limit("tamiyo.updates", "critical_above")


def test_a_side_without_a_limit_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match=r"metric 'tamiyo\.grad_norm_violations' has no limit critical_below"):
        limit("tamiyo.grad_norm_violations", "critical_below")
