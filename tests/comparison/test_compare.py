"""The comparison: figures equal an independent computation in NumPy, and a verdict needs more than chance."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from esper_otel.cli.commands import app_of
from esper_otel.comparison.compare import compare
from esper_otel.comparison.curves import POINTS, Curve, Outcome, outcomes_of
from esper_otel.comparison.resampling import of_difference, of_pairs, of_rounds, student_quantile
from tests.diagnosis.made import Line, line, run


def outcome(name: str, values: list[float], seed: int | None = None, **settings: str) -> Outcome:
    numbers = [float(n + 1) for n in range(len(values))]
    return Outcome(name, seed, {"reward": Curve(numbers, numbers, values)}, settings)


def group(mean: float, count: int, seed: int, *, rounds: int = 50) -> list[Outcome]:
    """Runs whose level varies from seed to seed by 1, and from round to round by 0.3."""
    draw = random.Random(seed)
    levels = [draw.gauss(mean, 1.0) for _ in range(count)]
    return [outcome(f"r{n}", [draw.gauss(level, 0.3) for _ in range(rounds)]) for n, level in enumerate(levels)]


def batches(rewards: list[float], seed: int, every_s: float = 1.0) -> list[Line]:
    started = line("TRAINING_STARTED", 0, seed=seed, lr=1e-3 * (1 + len(rewards) % 2))
    done = [
        line("TOLARIA_BATCH_COMPLETED", every_s * (n + 1), batch_idx=n + 1, avg_reward=reward, avg_accuracy=50.0)
        for n, reward in enumerate(rewards)
    ]
    return [started, *done]


def test_estimate_and_interval_of_seeds_equal_numpys() -> None:
    a, b = [run.curves["reward"].values for run in group(0, 7, 1)], [r.curves["reward"].values for r in group(2, 9, 2)]
    ends_a, ends_b = (np.array([np.mean(values[-10:]) for values in side]) for side in (a, b))
    (effect, _) = compare(group(0, 7, 1), group(2, 9, 2)).effects

    assert effect.difference.estimate == pytest.approx(ends_b.mean() - ends_a.mean(), rel=1e-12)
    rng = np.random.default_rng(5)
    means = rng.choice(ends_b, (200_000, 9)).mean(1) - rng.choice(ends_a, (200_000, 7)).mean(1)
    # Student's quantile at 0.9875 for 6 degrees of freedom, 2.969, widened by sqrt(7/6); Phi(-3.207) = 0.00067
    low, high = np.quantile(means, [0.00067, 1 - 0.00067])
    assert effect.difference.low == pytest.approx(low, abs=0.15)
    assert effect.difference.high == pytest.approx(high, abs=0.15)
    assert effect.difference.level == 0.975


def test_seeds_that_match_are_compared_as_pairs() -> None:
    levels = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
    a = [outcome(f"a{n}", [level] * 10, seed=n) for n, level in enumerate(levels)]
    b = [outcome(f"b{n}", [level + 1.0 + 0.1 * n] * 10, seed=n) for n, level in enumerate(levels)][::-1]

    paired, alone = compare(a, b).effects[0], compare(a, unseeded(b)).effects[0]

    assert (paired.over, paired.verdict) == ("pairs of seeds", "better")
    assert paired.difference.estimate == pytest.approx(np.mean([1.0 + 0.1 * n for n in range(7)]))
    assert (alone.over, alone.verdict) == ("seeds", "none")


def test_pairs_that_chance_alone_could_order_are_compared_as_groups() -> None:
    a = [outcome(f"a{n}", [0.0 + 0.01 * n] * 10, seed=n) for n in range(6)]
    b = [outcome(f"b{n}", [1.0 + 0.01 * n] * 10, seed=n) for n in range(6)]

    (effect, _) = compare(a, b).effects

    assert (effect.over, effect.verdict) == ("seeds", "better")


def unseeded(runs: list[Outcome]) -> list[Outcome]:
    return [Outcome(each.name, None, each.curves, each.settings) for each in runs]


def test_groups_without_a_difference_get_no_verdict_in_at_least_95_of_100() -> None:
    pairs = (compare(group(0, 5, 2 * n), group(0, 5, 2 * n + 1)) for n in range(100))
    told = sum(any(effect.verdict != "none" for effect in pair.effects) for pair in pairs)

    assert told <= 5


@pytest.mark.parametrize(
    ("level", "freedom", "quantile"),
    [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 10, 2.228), (0.99, 4, 4.604), (0.99, 29, 2.756), (0.975, 5, 3.163)],
)
def test_students_quantile_is_that_of_the_tables(level: float, freedom: int, quantile: float) -> None:
    assert student_quantile(level, freedom) == pytest.approx(quantile, abs=5e-4)


def test_groups_with_a_clear_difference_get_their_verdict() -> None:
    told = [compare(group(0, 5, 2 * n), group(-4, 5, 2 * n + 1)).effects[0].verdict for n in range(20)]

    assert told == ["worse"] * 20


@pytest.mark.parametrize(
    ("a", "b", "is_enough"), [(1, 1, False), (2, 2, False), (4, 4, False), (3, 6, True), (5, 5, True)]
)
def test_a_verdict_needs_so_many_runs_that_chance_alone_would_rarely_part_them(a: int, b: int, is_enough: bool) -> None:
    effect = compare([outcome("a", [0.0] * 20)] * a, [outcome("b", [1.0] * 20)] * b).effects[0]

    assert (effect.verdict == "better") is is_enough
    assert is_enough or effect.why_none


def test_an_interval_over_rounds_keeps_neighbours_together() -> None:
    waves = [math.sin(n / 8) for n in range(200)]

    blocks, single = of_rounds(waves), of_pairs(waves)

    assert blocks.high - blocks.low > 1.5 * (single.high - single.low)


def test_the_same_numbers_give_the_same_interval() -> None:
    assert of_difference([1.0, 2.0, 4.0], [2.0, 3.0]) == of_difference([1.0, 2.0, 4.0], [2.0, 3.0])


def test_the_place_where_the_curves_part_is_after_their_last_crossing() -> None:
    a = [outcome(f"a{n}", [0.0] * 40) for n in range(5)]
    b = [outcome(f"b{n}", [0.1 * (-1) ** r if r < 20 else 1.0 + 0.01 * n for r in range(40)]) for n in range(4)]

    assert compare(a, b).effects[0].parts_at == 21


def test_equal_time_compares_what_both_had_by_then(tmp_path: Path) -> None:
    slow = outcomes_of(run(tmp_path / "slow", batches([float(n) for n in range(20)], 1, every_s=2.0)))["default"]
    fast = outcomes_of(run(tmp_path / "fast", batches([float(n) for n in range(40)], 1, every_s=1.0)))["default"]

    effects = {(e.outcome, e.at): e for e in compare([slow], [fast]).effects}

    assert effects["reward", "equal rounds"].difference.estimate == 0.0
    at_time = effects["reward", "equal time"]
    assert at_time.a == pytest.approx(np.mean([16, 17, 18, 19]))
    assert at_time.b == pytest.approx(np.mean(np.arange(32, 40)))


def asked(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app_of(["compare"]), ["compare", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    for name, level in (("a", 100.0), ("b", 90.0)):
        for seed in range(6):
            rewards = [level + seed + 0.1 * n for n in range(20 + (name == "b"))]
            (tmp_path / name).mkdir(exist_ok=True)
            run(tmp_path / name / f"{name}{seed}", batches(rewards, seed))
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_directories_of_runs_are_compared_and_settings_that_differ_are_listed(sides: tuple[str, str]) -> None:
    status, text, _ = asked(*sides)

    assert status == 0
    assert "B is worse in reward than A." in text
    assert "  lr: 0.001 | 0.002" in text


@pytest.mark.parametrize(
    ("condition", "status"), [("reward < -5%", 3), ("reward < -15%", 0), ("reward<-5", 3), ("reward > 5%", 0)]
)
def test_a_condition_fails_the_command_when_it_is_met(condition: str, status: int, sides: tuple[str, str]) -> None:
    assert asked(*sides, "--fail-if", condition)[0] == status


def test_json_has_the_verdict_and_every_effect(sides: tuple[str, str]) -> None:
    (found,) = json.loads(asked(*sides, "--json")[1])

    assert found["verdict"] == "B is worse in reward than A."
    assert {(effect["outcome"], effect["at"]) for effect in found["effects"]} >= {("reward", "equal time")}


@pytest.mark.parametrize("condition", ["reward", "speed < 1", "reward < much"])
def test_a_condition_that_is_none_is_one_clear_error(condition: str, sides: tuple[str, str]) -> None:
    status, _, error = asked(*sides, "--fail-if", condition)

    assert status == 2
    assert f"--fail-if: {condition!r} is no condition" in error


def test_a_long_curve_is_cut_into_stretches_whose_means_are_numpys(tmp_path: Path) -> None:
    losses = [random.Random(3).gauss(0, 1) + n / 1000 for n in range(2 * POINTS + 500)]
    updates = [line("TOLARIA_TRAINING_UPDATE", n, update=n + 1, loss=loss) for n, loss in enumerate(losses)]

    ((only,),) = [outcomes_of(run(tmp_path / "run", updates)).values()]

    curve = only.curves["loss"]
    stretches = [losses[start : start + 3] for start in range(0, len(losses), 3)]
    assert curve.values == pytest.approx([np.mean(each) for each in stretches])
    assert curve.numbers == [min(3 * n + 3, len(losses)) for n in range(len(stretches))]
    assert curve.seconds[-1] == len(losses) - 1
    assert len(curve.values) <= POINTS
