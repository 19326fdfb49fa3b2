"""The page of several runs: groups by argument and by configuration, bands that equal NumPy's, verdicts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser
from typer.testing import CliRunner

from esper_otel.cli import app
from esper_otel.comparison.curves import Curve
from esper_otel.comparison.sides import groups_of
from esper_otel.report.overlay.bands import band_of
from esper_otel.report.overlay.page import overlay, write_overlay
from tests.diagnosis.made import line, run
from tests.report.browser import opened


def trained(directory: Path, level: float, seed: int, lr: float = 1e-3, rounds: int = 20) -> Path:
    rewards = level + np.random.default_rng(seed).normal(0, 0.1, rounds)
    rounds_done = [
        line("TOLARIA_BATCH_COMPLETED", n + 1.0, batch_idx=n + 1, avg_reward=float(reward))
        for n, reward in enumerate(rewards)
    ]
    directory.parent.mkdir(exist_ok=True)
    return run(directory, [line("TRAINING_STARTED", 0, seed=seed, lr=lr)], rounds_done)


@pytest.fixture
def sides(tmp_path: Path) -> list[str]:
    for name, level in (("old", 0.0), ("new", 1.0)):
        for seed in range(6):
            trained(tmp_path / name / f"{name}{seed}", level, seed)
    return [str(tmp_path / name) for name in ("old", "new")]


def figures(page: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)]


def told(_: str) -> None:
    raise AssertionError(_)


def test_a_directory_of_runs_is_a_line_with_a_band_that_equals_numpys(sides: list[str]) -> None:
    (reward,) = figures(overlay(sides, told))
    values = np.array([np.random.default_rng(seed).normal(0, 0.1, 20) for seed in range(6)])

    mean, low, high = (trace["y"] for trace in reward["data"][:3])
    assert [trace["name"] for trace in reward["data"]] == 3 * ["old (6 runs)"] + 3 * ["new (6 runs)"]
    assert mean == pytest.approx(values.mean(0).tolist())
    assert low == pytest.approx(values.min(0).tolist())
    assert high == pytest.approx(values.max(0).tolist())


def test_the_page_has_the_verdict_of_the_comparison(sides: list[str]) -> None:
    page = overlay(sides, told)

    assert "B is better in reward than A." in page
    assert "<th>97.5 % interval</th>" in page
    assert "<td>seeds</td>" in page


def test_single_runs_whose_settings_differ_by_the_seed_alone_are_one_group(tmp_path: Path) -> None:
    runs = [trained(tmp_path / f"r{n}", 0.0, seed=n, lr=(1e-3, 2e-3)[n // 3]) for n in range(6)]

    groups = groups_of([str(each) for each in runs], told)

    assert [[each.name for each in group.runs] for group in groups] == [["r0", "r1", "r2"], ["r3", "r4", "r5"]]


@pytest.mark.parametrize(("seed", "expected"), [("--seed {}", 1), ("seed={}", 1), ("--lr {}", 2)])
def test_the_seed_in_a_command_line_is_no_configuration(seed: str, expected: int, tmp_path: Path) -> None:
    for number in (1, 2):
        directory = trained(tmp_path / f"r{number}", 0.0, number)
        argv = ["train.py", *seed.format(number).split(), "--fast"]
        (directory / "run.json").write_text(json.dumps({"argv": argv, "host": f"host{number}"}))

    assert expected == len(groups_of([str(tmp_path / "r1"), str(tmp_path / "r2")], told))


def test_a_band_goes_as_far_as_all_of_its_runs() -> None:
    long, short = (Curve([float(n) for n in range(1, count + 1)], [0.0] * count, [1.0] * count) for count in (9, 4))

    assert [1.0, 2.0, 3.0, 4.0] == band_of([long, short]).numbers


def test_between_its_points_a_curve_is_a_line() -> None:
    numbers, sparse = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 3.0, 5.0]
    band = band_of([Curve(numbers, numbers, [0.0] * 5), Curve(sparse, sparse, [2.0, 4.0, 0.0])])

    assert band.high == pytest.approx(np.interp(numbers, sparse, [2.0, 4.0, 0.0]).tolist())


def test_runs_without_an_outcome_are_an_error_that_names_them(tmp_path: Path) -> None:
    runs = [str(run(tmp_path / name, [line("HEARTBEAT", 1, uptime_s=1.0)])) for name in "ab"]

    done = CliRunner().invoke(app, ["report", *runs, "-o", str(tmp_path / "page.html")])

    assert done.exit_code == 2
    assert f"none of {runs[0]}, {runs[1]} has a reward, an accuracy or a loss to draw" in done.stderr


def test_a_browser_draws_the_bands_and_asks_for_nothing(browser: Browser, sides: list[str], tmp_path: Path) -> None:
    write_overlay(sides, tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        page.scroll_through()
        fills = "[...document.querySelectorAll('.chart .fills path')].map(path => getComputedStyle(path).fill)"

        assert 2 == len(set(page.page.evaluate(fills)))
        assert [] == page.refused()
        assert [] == page.console
        assert [(tmp_path / "page.html").as_uri()] == page.requests


def test_one_run_whose_directory_has_a_comma_in_its_name_gets_its_own_report(tmp_path: Path) -> None:
    one = trained(tmp_path / "lr=0.1,batch=32", 0.0, 1)

    done = CliRunner().invoke(app, ["report", str(one), "-o", str(tmp_path / "r.html")])

    assert 0 == done.exit_code, done.stderr
    assert "<h2>Findings" in (tmp_path / "r.html").read_text()
