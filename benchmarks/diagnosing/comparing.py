"""Pairs with a known truth for the comparison: ``python -m benchmarks.diagnosing.comparing out/comparing``.

Small networks are trained with two learning rates, many seeds each. Two groups of one rate differ by chance alone, and
a verdict on them is false; two groups of different rates differ. Every figure is computed once more, by NumPy from the
lines of the logs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import torch
import torch._dynamo  # the first optimizer would: a child's 5 s of processor time
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import esper_otel
from benchmarks.diagnosing.judge import written_into
from esper_otel.comparison.compare import Effect, compare
from esper_otel.comparison.curves import Outcome, outcomes_of

RATES: Final = {"a": 1e-3, "b": 2e-3}
SEEDS: Final = 24
GROUP: Final = 6
PAIRS: Final = 100
STEPS: Final = 150
STUDENT: Final = 3.163
"""Student's quantile at 0.9875 (one of two effects) for one degree of freedom less than a group has runs."""

BEGIN: Final = "<!-- pairs: written by benchmarks/diagnosing/comparing.py -->"
END: Final = "<!-- end of pairs -->"


def train(rate: float, seed: int) -> None:
    """Train one network."""
    torch.manual_seed(seed)
    raw = load_digits()
    images, labels = torch.as_tensor(raw.images, dtype=torch.float32).flatten(1) / 16, torch.as_tensor(raw.target)
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(STEPS):
        rows = torch.randint(len(labels), (64,))
        optimizer.zero_grad()
        functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()


def make(directory: Path) -> bool:
    """Make the runs that are missing, each in its own process; returns True in such a process, which has to end."""
    torch.set_num_threads(1)
    for name, rate in RATES.items():
        for seed in range(SEEDS):
            run = f"{name}{seed}"
            if (directory / run).exists():
                continue
            pid = os.fork()
            if pid == 0:
                esper_otel.autolog(telemetry_dir=directory, run_id=run, relay=False)
                train(rate, seed)
                return True
            os.waitpid(pid, 0)
    return False


class Pair(NamedTuple):
    """Two groups of runs, what was found on their losses at equal rounds, and every verdict on them."""

    a: list[str]
    b: list[str]
    effect: Effect
    verdicts: set[str]


def pairs(a: list[Outcome], b: list[Outcome], *, is_same: bool) -> list[Pair]:
    """:data:`PAIRS` pairs of groups that are drawn from ``a`` and ``b``."""
    draw = random.Random(1)
    found = []
    for _ in range(PAIRS):
        chosen = draw.sample(a, 2 * GROUP)
        groups = chosen[:GROUP], chosen[GROUP:] if is_same else draw.sample(b, GROUP)
        effects = compare(*groups).effects
        (effect,) = (each for each in effects if each.at == "equal rounds")
        names = [[run.name for run in group] for group in groups]
        found.append(Pair(names[0], names[1], effect, {each.verdict for each in effects}))
    return found


def deviations(directory: Path, found: list[Pair]) -> tuple[float, float]:
    """Largest distance from NumPy's figures: of estimates, over their size; of ends of intervals, over their width."""
    of_estimate = of_ends = 0.0
    generator = np.random.default_rng(1)
    for pair in found:
        a, b = (np.array([_result(directory / name) for name in group]) for group in (pair.a, pair.b))
        estimate = b.mean() - a.mean()
        of_estimate = max(of_estimate, abs(pair.effect.difference.estimate - estimate) / abs(estimate))
        means = generator.choice(b, (200_000, GROUP)).mean(1) - generator.choice(a, (200_000, GROUP)).mean(1)
        tail = NormalDist().cdf(-math.sqrt(GROUP / (GROUP - 1)) * STUDENT)
        low, high = np.quantile(means, [tail, 1 - tail])
        ours = pair.effect.difference
        of_ends = max(of_ends, abs(ours.low - low) / (high - low), abs(ours.high - high) / (high - low))
    return of_estimate, of_ends


@cache
def _result(run: Path) -> float:
    """Mean loss of the last fifth of a run's updates, from the lines of its log."""
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    losses = [line["data"]["loss"] for line in lines if line["event_type"] == "TOLARIA_TRAINING_UPDATE"]
    return float(np.mean(losses[-STEPS // 5 :]))


def main() -> None:
    """Make the runs, count verdicts, compute the figures once more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    directory = options.directory
    if make(directory):
        return
    sides = [
        [outcome for seed in range(SEEDS) for outcome in outcomes_of(directory / f"{name}{seed}").values()]
        for name in RATES
    ]
    same, different = pairs(sides[0], sides[0], is_same=True), pairs(*sides, is_same=False)
    none = sum(pair.verdicts == {"none"} for pair in same)
    clear = sum(pair.effect.verdict == "better" for pair in different)
    of_estimate, of_ends = deviations(directory, [*same, *different])
    text = (
        f"* Pairs without a difference: no verdict, at equal rounds or at equal time, on {none} of {PAIRS}.\n"
        f"* Pairs with a difference: the right verdict at equal rounds on {clear} of {PAIRS}.\n"
        f"* NumPy, from the lines of the logs: estimates differ by at most {of_estimate:.1g} of their size, ends of"
        f" intervals by at most {of_ends:.1%} of their width (both are resampled)."
    )
    if options.write is None:
        sys.stdout.write(f"{text}\n")
    else:
        written_into(options.write, BEGIN, text, END)


if __name__ == "__main__":
    main()
