"""Comparison of the trained policy with uniform-random and always-WAIT policies on held-out episodes, over seeds.

    python benchmarks/learning.py [--seeds 200-207] [--rounds N] [--episodes 5] [--jobs 2] [--write PAGE]

Held-out episodes are ones that training did not play: their data order, growth and start weights follow from episode
numbers beyond the last trained one. Every policy plays the same ones. Intervals are 95 % by Student's t over seeds;
differences are paired by seed. The second table says how each seed learned, from the numbers that telemetry carries:
it is where to look when one did not.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import torch
from scipy.stats import t as student

from trainer.recipes import RECIPES
from trainer.simic.loop import Training, sample
from trainer.simic.observer import RoundEnd
from trainer.tamiyo.actions import Op
from trainer.tamiyo.policy import Drawn, Masks, Policy

POLICIES: Final = ("trained", "random", "wait")
BEGIN, END = "<!-- learning: written by benchmarks/learning.py -->\n", "<!-- end of learning -->\n"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One seed: reward and final accuracy (percent) by policy, and the training in its first and last fifth."""

    seed: int
    reward: dict[str, float]
    accuracy: dict[str, float]
    first: dict[str, float]
    last: dict[str, float]


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


def play(training: Training, choose: Callable[..., Drawn], rounds: int) -> tuple[float, float]:
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
    return statistics.fmean(rewards), statistics.fmean(accuracies)


def course(ends: Sequence[RoundEnd]) -> dict[str, float]:
    """Progress of training over some rounds."""
    updates = [update.values for end in ends for update in end.learn.updates]
    steps = sum(sum(end.op_counts.values()) for end in ends)
    return {
        "reward": statistics.fmean(reward for end in ends for reward in end.rewards),
        "entropy": statistics.fmean(values["entropy"] for values in updates),
        "KL": statistics.fmean(values["kl_divergence"] for values in updates),
        "updates": len(updates) / len(ends),
        "explained": statistics.fmean(values["explained_variance"] for values in updates),
        "prune %": 100.0 * sum(end.op_counts["PRUNE"] for end in ends) / steps,
        "fossilised": statistics.fmean(end.seeds_fossilized / len(end.rewards) for end in ends),
    }


def measure(seed: int, rounds: int | None, held_out: int) -> Result:
    """Train one policy, then let it and the two baselines play."""
    torch.set_num_threads(1)
    recipe = RECIPES["demo"]
    training = Training(replace(recipe, seed=seed, rounds=rounds or recipe.rounds))
    training.run()
    fifth = max(1, len(training.history) // 5)
    choosers = (sample, uniform_over(training.policy), wait)
    played = {name: play(training, choose, held_out) for name, choose in zip(POLICIES, choosers, strict=True)}
    return Result(
        seed=seed,
        reward={name: reward for name, (reward, _) in played.items()},
        accuracy={name: accuracy for name, (_, accuracy) in played.items()},
        first=course(training.history[:fifth]),
        last=course(training.history[-fifth:]),
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval by Student's t; NaN when there is one value only."""
    if len(values) < 2:
        return values[0], float("nan")
    quantile = float(student.ppf(0.975, len(values) - 1))
    return statistics.fmean(values), quantile * statistics.stdev(values) / len(values) ** 0.5


def is_ahead(results: Sequence[Result]) -> bool:
    """Return True if the trained policy's paired lead over both baselines exceeds its interval."""
    leads = (interval([r.reward["trained"] - r.reward[name] for r in results]) for name in POLICIES[1:])
    return all(mean - half > 0.0 for mean, half in leads)


def report(results: Sequence[Result], command: str, episodes: int) -> str:
    """Everything as Markdown."""
    lines = [f"`{command}`: {len(results)} seeds, {episodes} held-out episodes each, mean ± 95 % over seeds.", ""]
    lines += ["| policy | reward | final accuracy, % | trained minus this |", "|---|---|---|---|"]
    for name in POLICIES:
        reward = "{:.2f} ± {:.2f}".format(*interval([r.reward[name] for r in results]))
        accuracy = "{:.1f} ± {:.1f}".format(*interval([r.accuracy[name] for r in results]))
        lead = "{:.2f} ± {:.2f}".format(*interval([r.reward["trained"] - r.reward[name] for r in results]))
        lines.append(f"| {name} | {reward} | {accuracy} | {'' if name == 'trained' else lead} |")
    names = list(results[0].first)
    lines += ["", "First and last fifth of training, by seed:", ""]
    lines += ["| seed | held-out reward: trained, random, wait | " + " | ".join(names) + " |"]
    lines += ["|---" * (len(names) + 2) + "|"]
    for r in results:
        rewards = ", ".join(f"{r.reward[name]:.2f}" for name in POLICIES)
        cells = " | ".join(f"{r.first[name]:.2f} → {r.last[name]:.2f}" for name in names)
        lines.append(f"| {r.seed} | {rewards} | {cells} |")
    verdict = (
        "The trained policy is clearly ahead." if is_ahead(results) else "The trained policy is NOT clearly ahead."
    )
    return "\n".join([*lines, "", verdict, ""])


def write_into(page: Path, text: str) -> None:
    """Replace the text between the markers of ``page``."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page} has no {BEGIN.strip()} … {END.strip()} to write between")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def seeds_of(text: str) -> list[int]:
    """Seeds from ``200-207`` or ``1,5,9``."""
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(part) for part in text.split(",")]


def main() -> int:
    """Run and print; status 1 when the trained policy is not clearly ahead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default="200-207", help="200-207, or 1,5,9")
    parser.add_argument("--rounds", type=int, help="training rounds (default: the demo recipe's)")
    parser.add_argument("--episodes", type=int, default=5, help="held-out rounds, of as many episodes as environments")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the raw results here")
    parser.add_argument("--write", type=Path, help="put the report into this page, between its markers")
    given = parser.parse_args()
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(measure, seed, given.rounds, given.episodes) for seed in given.seeds]
        results = [future.result() for future in futures]
    command = f"python benchmarks/learning.py --seeds {','.join(map(str, given.seeds))}"
    if given.rounds:
        command += f" --rounds {given.rounds}"
    text = report(results, command, given.episodes * RECIPES["demo"].envs)
    print(text)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    if given.write is not None:
        write_into(given.write, text)
    return 0 if is_ahead(results) else 1


if __name__ == "__main__":
    sys.exit(main())
