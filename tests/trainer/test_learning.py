import math
from dataclasses import replace

import pytest
import torch

from benchmarks.learning import (
    BEGIN,
    END,
    Result,
    interval,
    is_ahead,
    play,
    report,
    seeds_of,
    uniform_over,
    wait,
    write_into,
)
from trainer.recipes import RECIPES
from trainer.simic.loop import Training, sample
from trainer.tamiyo.actions import Op
from trainer.tamiyo.policy import Masks
from trainer.tolaria.environment import EnvironmentSettings


@pytest.fixture(scope="module")
def training() -> Training:
    recipe = replace(RECIPES["smoke"], rounds=1, warm_hosts=1, environment=EnvironmentSettings(episode_length=8))
    training = Training(recipe)
    training.begin()
    return training


def result(seed: int, trained: float, random: float, wait: float) -> Result:
    reward = {"trained": trained, "random": random, "wait": wait}
    return Result(seed=seed, reward=reward, accuracy=reward, first={"reward": 1.0}, last={"reward": 2.0})


def test_the_interval_is_students_t_over_the_square_root_of_n():
    mean, half = interval([1.0, 2.0, 3.0, 4.0, 5.0])

    assert 3.0 == mean
    assert pytest.approx(2.776445 * math.sqrt(2.5) / math.sqrt(5)) == half


def test_a_lead_that_its_interval_reaches_0_is_no_clear_lead():
    clear = [result(seed, 9.0 + seed, 3.0, 4.0) for seed in range(3)]
    doubtful = [result(seed, 4.0 + 3.0 * (seed - 1), 3.0, 4.0) for seed in range(3)]

    assert is_ahead(clear)
    assert not is_ahead(doubtful)


def test_the_waiting_policy_never_acts(training):
    play(training, wait, 1)

    assert {0} == {env.op_counts[op.name] for env in training.envs for op in Op if op is not Op.WAIT}


def test_the_random_policy_chooses_evenly_among_what_is_allowed(training):
    allowed = torch.zeros(4000, len(training.slot_ids), len(Op), dtype=torch.bool)
    allowed[..., Op.WAIT] = True
    allowed[:, 0, Op.PRUNE] = True
    observations = torch.randn(4000, training.policy.layout.size)
    chooser = uniform_over(training.policy)
    drawn = chooser(training.policy, observations, Masks(slot_ops=allowed), torch.Generator().manual_seed(0))

    share = (drawn.choices["op"] == Op.PRUNE).float().mean()
    assert pytest.approx(0.5, abs=0.03) == share.item()


def test_held_out_episodes_are_the_same_for_every_policy_and_change_no_weight(training):
    before = [parameter.clone() for parameter in training.policy.parameters()]
    first = play(training, sample, 1)
    play(training, wait, 1)

    assert first == play(training, sample, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, training.policy.parameters(), strict=True))
    assert training.recipe.envs == training.envs[0].episode_idx


def test_a_new_policy_rarely_prunes(training):
    observations = torch.zeros(1, training.policy.layout.size)
    everything = Masks(slot_ops=torch.ones(1, len(training.slot_ids), len(Op), dtype=torch.bool))
    new = Training(training.recipe).policy
    ops = new.log_probs(observations, everything, torch.tensor([0]))["op"][0]

    assert pytest.approx(-2.0, abs=0.01) == (ops[Op.PRUNE] - ops[Op.ADVANCE]).item()


def test_the_report_is_written_between_the_markers_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    write_into(page, report([result(1, 9.0, 3.0, 4.0), result(2, 9.5, 3.0, 4.0)], "command", 20))

    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n`command`: 2 seeds, 20 held-out episodes each")
    assert text.endswith(f"The trained policy is clearly ahead.\n\n{END}after\n")
    assert "| wait | 4.00 ± 0.00 | 4.0 ± 0.0 | 5.25 ± 3.18 |" in text
    assert "old" not in text


def test_seeds_are_given_as_a_range_or_a_list():
    assert [200, 201, 202] == seeds_of("200-202")
    assert [1, 5] == seeds_of("1,5")
