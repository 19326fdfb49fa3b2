"""Does the policy learn? Trained, uniform-random and always-WAIT policies on the same held-out episodes, over seeds.

    python benchmarks/learning.py [--seeds 5] [--rounds N] [--episodes 5] [--jobs 2] [--json FILE]

Held-out episodes are ones that training did not play: their data order, growth and start weights follow from episode
numbers beyond the last trained one. Every policy plays the same ones. Intervals are 95 % by Student's t over seeds.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from trainer.recipes import RECIPES
from trainer.simic.loop import Training, sample
from trainer.tamiyo.actions import Op
from trainer.tamiyo.policy import Drawn, Masks, Policy

# Two-sided 95 % quantiles of Student's t by degrees of freedom.
T95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 14: 2.14, 19: 2.09}

Result = dict[str, dict[str, float]]


def wait(policy: Policy, observations: torch.Tensor, masks: Masks, stream: torch.Generator) -> Drawn:
    """Always WAIT."""
    only_wait = torch.zeros_like(masks.slot_ops)
    only_wait[..., Op.WAIT] = True
    return policy.act(observations, Masks(slot_ops=only_wait), stream)


def uniform_over(policy: Policy) -> Callable[[Policy, torch.Tensor, Masks, torch.Generator], Drawn]:
    """Uniform over what the masks allow."""
    blank = copy.deepcopy(policy)
    with torch.no_grad():
        for parameter in blank.heads.parameters():
            parameter.zero_()
    return lambda _, observations, masks, stream: blank.act(observations, masks, stream)


def play(training: Training, choose: Callable[..., Drawn], rounds: int) -> dict[str, float]:
    """Mean reward and final accuracy (percent) over held-out episodes."""
    training.choose = choose
    training.stream.manual_seed(20_260_102)
    rewards: list[float] = []
    accuracies: list[float] = []
    for extra in range(rounds):
        training.rounds_done = training.recipe.rounds + extra
        end = training.round(learn=False)
        rewards += end.rewards
        accuracies += end.accuracies
    return {"reward": statistics.fmean(rewards), "accuracy": statistics.fmean(accuracies)}


def measure(seed: int, rounds: int | None, held_out: int) -> Result:
    """Train one policy, then let it and the two baselines play."""
    torch.set_num_threads(1)
    recipe = RECIPES["demo"]
    training = Training(replace(recipe, seed=seed, rounds=rounds or recipe.rounds))
    training.run()
    return {
        "trained": play(training, sample, held_out),
        "random": play(training, uniform_over(training.policy), held_out),
        "wait": play(training, wait, held_out),
    }


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of the 95 % interval."""
    if len(values) < 2:
        return values[0], float("nan")
    t = T95.get(len(values) - 1, 2.0)
    return statistics.fmean(values), t * statistics.stdev(values) / len(values) ** 0.5


def main() -> int:
    """Run and print; status 1 when the trained policy is not clearly ahead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, help="training rounds (default: the demo recipe's)")
    parser.add_argument("--episodes", type=int, default=5, help="held-out rounds, of as many episodes as environments")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the raw results here")
    given = parser.parse_args()
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(measure, seed, given.rounds, given.episodes) for seed in range(given.seeds)]
        results = [future.result() for future in futures]
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1))
    print(f"{given.seeds} seeds, {given.episodes * RECIPES['demo'].envs} held-out episodes each, mean ± 95 %")
    for name in ("trained", "random", "wait"):
        reward, reward_ci = interval([result[name]["reward"] for result in results])
        accuracy, accuracy_ci = interval([result[name]["accuracy"] for result in results])
        print(f"{name:8s} reward {reward:6.2f} ± {reward_ci:4.2f}   accuracy {accuracy:5.1f} ± {accuracy_ci:4.1f} %")
    ahead = True
    for name in ("random", "wait"):
        gain, ci = interval([result["trained"]["reward"] - result[name]["reward"] for result in results])
        ahead &= gain - ci > 0.0
        print(f"trained - {name}: {gain:.2f} ± {ci:.2f} reward (paired by seed)")
    print("the trained policy is clearly ahead" if ahead else "the trained policy is NOT clearly ahead")
    return 0 if ahead else 1


if __name__ == "__main__":
    sys.exit(main())
