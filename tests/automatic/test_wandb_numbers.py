"""Numbers that an unchanged program logs by wandb are events."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.automatic.program_runs import ran


@pytest.mark.parametrize("door", ["run", "instrument"])
def test_what_a_program_logs_by_wandb_becomes_updates_and_scalars(door: str, tmp_path: Path) -> None:
    run = ran(door, tmp_path / "run", "wandb_logged.py", WANDB_MODE="offline", WANDB_SILENT="true")

    assert run.status == 0, run.error
    assert [{name: round(value, 6) for name, value in each.items()} for each in run.of("TAMIYO_POLICY_UPDATE")] == [
        {"kl_divergence": 0.01 * n, "entropy": 0.6, "clip_fraction": 0.125, "env_steps": 128 * n} for n in (1, 2, 3)
    ]
    found = [(scalar["tag"], scalar["value"], scalar.get("step")) for scalar in run.of("TOLARIA_SCALAR")]
    assert found == [
        *(("own.inner", float(n), 128 * n) for n in (1, 2, 3)),
        *(("without a step", float(row), None) for row in range(2)),
    ]
    assert len(run.updates()) == 3
    assert run.of("SENSOR_FAULT") == []
