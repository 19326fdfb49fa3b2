"""What only esper-lite's events say: the share of waiting of its updates, and its detectors of a critic and of NaN."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Diagnosis, Grade
from tests.diagnosis.made import Line, line, policy, run


def of_kind(diagnosis: Diagnosis, kind: str) -> list[Grade]:
    return [finding.severity for finding in diagnosis.findings if finding.kind == kind]


def detected(*seconds: float) -> list[Line]:
    return [line("VALUE_COLLAPSE_DETECTED", second, batch=int(second) + 1, value=24.9) for second in seconds]


@pytest.mark.parametrize(("share", "severities"), [(0.51, [Grade.WARNING]), (0.49, [])])
def test_updates_that_mostly_waited_for_data_make_a_run_input_bound(
    share: float, severities: list[Grade], tmp_path: Path
) -> None:
    said = diagnose(run(tmp_path / "run", policy(12, dataloader_wait_ratio=share)))

    assert of_kind(said, "input_bound") == severities


def test_a_share_of_waiting_in_two_updates_is_the_start_of_a_run(tmp_path: Path) -> None:
    assert of_kind(diagnose(run(tmp_path / "run", policy(2, dataloader_wait_ratio=0.9))), "input_bound") == []


@pytest.mark.parametrize(("fields", "is_blind"), [({"dataloader_wait_ratio": 0.1}, False), ({}, True)])
def test_input_is_not_judged_where_neither_events_nor_updates_say_how_long_it_took(
    fields: dict[str, float], is_blind: bool, tmp_path: Path
) -> None:
    said = diagnose(run(tmp_path / "run", policy(12, **fields)))

    assert ("input: no throughput was recorded" in said.not_judged) is is_blind


@pytest.mark.parametrize(
    ("seconds", "severities"), [((0.5,), [Grade.INFO]), ((0.5, 4.5), [Grade.INFO]), ((0.5, 6.5), [Grade.WARNING])]
)
def test_a_critic_that_failed_in_the_first_half_alone_is_only_worth_knowing(
    seconds: tuple[float, ...], severities: list[Grade], tmp_path: Path
) -> None:
    assert of_kind(diagnose(run(tmp_path / "run", policy(12), detected(*seconds))), "critic_failing") == severities


@pytest.mark.parametrize(
    ("fields", "severities"),
    [
        ({"ev_low_return_variance": True, "explained_variance": "NaN"}, []),
        ({"ev_low_return_variance": False, "explained_variance": "NaN"}, [Grade.CRITICAL]),
        ({"ev_low_return_variance": True, "explained_variance": "NaN", "value_loss": "NaN"}, [Grade.CRITICAL] * 2),
    ],
)
def test_an_explained_variance_that_is_undefined_is_no_number_that_went_wrong(
    fields: dict[str, object], severities: list[Grade], tmp_path: Path
) -> None:
    alarm = [line("NUMERICAL_INSTABILITY_DETECTED", 4.9, batch=5, detail="Detected: NaN")]

    said = diagnose(run(tmp_path / "run", policy(12, **fields), alarm))

    assert of_kind(said, "non_finite") == severities


@pytest.mark.parametrize(
    ("entropy", "share", "is_collapsed"),
    [
        ({"op": 0.9, "slot": 0.0}, {"op": 1.0, "slot": 0.0}, False),  # a single slot is no choice
        ({"op": 0.9, "style": 0.07}, {"op": 1.0, "style": 0.08}, False),  # a mean over all steps
        ({"op": 0.9, "style": 0.007}, {"op": 1.0, "style": 0.08}, True),
        ({"op": 0.9, "style": 0.07}, {"op": 0.5, "style": 0.08}, True),  # a mean over the steps with a choice
        ({"op": 0.09, "style": 0.5}, {}, True),
    ],
)
def test_the_entropy_of_a_head_counts_over_the_steps_in_which_it_had_a_choice(
    entropy: dict[str, float], share: dict[str, float], is_collapsed: bool, tmp_path: Path
) -> None:
    said = diagnose(run(tmp_path / "run", policy(12, head_entropy=entropy, head_learnable_fraction=share)))

    assert of_kind(said, "entropy_collapsed") == [Grade.CRITICAL] * is_collapsed


@pytest.mark.parametrize(("before", "severity"), [(40.0, Grade.WARNING), (10.4, Grade.INFO)])
def test_an_accuracy_that_falls_within_chance_is_only_worth_knowing(
    before: float, severity: Grade, tmp_path: Path
) -> None:
    fall = line("PERFORMANCE_DEGRADATION", 5.0, current_acc=3.0, rolling_avg_acc=before, drop_percent=71.0)

    assert of_kind(diagnose(run(tmp_path / "run", policy(12), [fall])), "performance_degraded") == [severity]
