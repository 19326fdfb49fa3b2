"""The sides of a comparison: one directory alone has a side for each configuration among its runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from esper_otel.cli.commands import app_of
from tests.diagnosis.made import line, run


def trained(directory: Path, rates: tuple[float, ...]) -> Path:
    directory.mkdir()
    for seed, lr in enumerate(rates):
        rounds = [line("TOLARIA_BATCH_COMPLETED", n + 1.0, batch_idx=n + 1, avg_reward=1e3 * lr) for n in range(20)]
        run(directory / f"r{seed}", [line("TRAINING_STARTED", 0, seed=seed, lr=lr)], rounds)
    return directory


def compared(*arguments: str) -> Result:
    return CliRunner().invoke(app_of(["compare"]), ["compare", *arguments])


def test_a_directory_alone_has_a_side_for_each_configuration(tmp_path: Path) -> None:
    directory = trained(tmp_path / "runs", (1e-3, 1e-3, 2e-3, 2e-3, 3e-3))

    found = json.loads(compared(str(directory), "--json").stdout)

    assert [(each["a"], each["b"]) for each in found] == [(["r0", "r1"], ["r2", "r3"]), (["r0", "r1"], ["r4"])]
    assert ["lr", "0.001", "0.002"] in found[0]["settings"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_directory_of_one_configuration_alone_is_an_error_that_says_what_to_give(count: int, tmp_path: Path) -> None:
    directory = trained(tmp_path / "runs", (1e-3,) * count)

    done = compared(str(directory))

    assert done.exit_code == 2
    assert str(directory) in done.stderr
    assert "give a second" in done.stderr


def test_a_path_that_exists_with_a_comma_in_its_name_is_one_path(tmp_path: Path) -> None:
    runs = trained(tmp_path / "lr=0.1,batch=32", (1e-3, 2e-3, 3e-3))
    for number in range(3):  # as Hydra names the runs of a sweep
        (runs / f"r{number}").rename(runs / f"lr={number},seed={number}")
    one, two, three = (str(runs / f"lr={number},seed={number}") for number in range(3))

    found = json.loads(compared(f"{one},{two}", three, "--json").stdout)
    alone = json.loads(compared(str(runs), "--json").stdout)

    assert [(["lr=0,seed=0", "lr=1,seed=1"], ["lr=2,seed=2"])] == [(each["a"], each["b"]) for each in found]
    assert 2 == len(alone)


def test_a_path_with_a_comma_that_does_not_exist_is_named_by_the_part_that_is_missing(tmp_path: Path) -> None:
    there = trained(tmp_path / "a,b", (1e-3,)) / "r0"

    done = compared(f"{there},{tmp_path}/none", str(there))

    assert (2, True) == (done.exit_code, f"{tmp_path}/none does not exist" in done.stderr)
