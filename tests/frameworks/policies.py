"""Policies that TRL trains, unchanged, by every door: a part of ``make frameworks``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esper_otel.events import PolicyUpdate
from esper_otel.frameworks.tags import OF_TRL
from tests.frameworks.campaign import installed, numbers, ran

__all__ = ["installed"]

CASES = (
    ("run", "GRPO"),
    ("run", "GRPO with an entropy bonus"),
    ("run", "RLOO"),
    ("instrument", "GRPO"),
    ("autolog", "GRPO"),
)


def of_table(row: dict[str, Any]) -> dict[str, float]:
    """Fields of a policy update that a row of TRL's own log becomes; the loss is the policy's where that is there."""
    row = {name: value for name, value in row.items() if name != "loss" or "policy_loss" not in row}
    return {OF_TRL[name].field: value for name, value in row.items() if name in OF_TRL}


@pytest.mark.parametrize(("door", "algorithm"), CASES)
def test_each_update_that_trl_logs_is_one_event_and_each_optimizer_step_has_its_true_norm(
    door: str, algorithm: str, tmp_path: Path
) -> None:
    run = ran(door, tmp_path / "recorded", "trl_policy.py", algorithm)
    (own,) = run.own
    rows = [row for row in own["rows"] if "entropy" in row]

    updates = run.of(PolicyUpdate.event_type)
    assert len(rows) == 4
    assert [numbers(update) for update in updates] == [pytest.approx(of_table(row), rel=1e-6) for row in rows]
    assert [update["env_steps"] for update in updates] == [2, 4, 6, 8]
    assert any(update["clip_fraction"] > 0 for update in updates)
    assert [update["pre_clip_grad_norm"] for update in run.updates()] == pytest.approx(own["norms"], rel=1e-6)
    scalars = {(line["tag"], line["step"]): line["value"] for line in run.of("TOLARIA_SCALAR")}
    assert {scalars["kl", row["step"]] for row in rows} == {row["kl"] for row in rows}
    assert ("eval_entropy", 4) in scalars
    assert run.of("SENSOR_FAULT") == []


def test_a_policy_of_trl_has_the_weights_that_it_has_without_us(tmp_path: Path) -> None:
    plain = ran("", tmp_path / "plain", "trl_policy.py", "GRPO")
    recorded = ran("run", tmp_path / "recorded", "trl_policy.py", "GRPO")

    assert recorded.own[0]["weights"] == plain.own[0]["weights"]
