"""The limits mark what is broken and not what learns."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.limits import COUNTED_ONLY, Share, limits, share
from esper_otel.events.declare import Severity
from tests.recorded import RECORDINGS, recording

BROKEN = {
    "policy_determinism": 1.0,
    "dominant_action_ratio": 1.0,
    "kl_divergence": 48.7,
    "clip_fraction": 1.0,
    "ratio_max": 113.4,
    "ratio_min": 0.008,
    "pre_clip_grad_norm": 42940.0,
    "head_grad_norm": 0.0,
    "td_error_mean": 1000.0,
    "numerical_stability_score": 1e-22,
}
"""Values that updates of the chaos recipe have, and those of a policy that collapsed."""


@pytest.fixture(scope="module")
def recordings() -> list[Path]:
    return [recording(name) for name in RECORDINGS]


@pytest.mark.parametrize("field", sorted(limits().keys() - COUNTED_ONLY))
def test_no_update_of_a_recorded_good_run_is_marked(recordings: list[Path], field: str) -> None:
    found = share(recordings, field, limits()[field])

    assert Share(found.updates, 0, 0) == found


@pytest.mark.parametrize("field", BROKEN)
def test_a_value_of_a_broken_run_is_critical(field: str) -> None:
    assert Severity.CRITICAL is limits()[field].severity_of(BROKEN[field])


def test_a_policy_that_does_not_move_is_no_fault_by_itself() -> None:
    assert [None, None] == [limits()[field].severity_of(0.0) for field in ("kl_divergence", "clip_fraction")]
