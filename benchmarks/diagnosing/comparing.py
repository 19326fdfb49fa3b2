"""Pairs with a known truth for the comparison: ``python -m benchmarks.diagnosing.comparing out/comparing``.

Small networks are trained with two learning rates, many seeds each. Two groups of one rate differ by chance alone, and
a verdict on them is false; two groups of different rates differ.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path
from typing import Final

import torch
import torch._dynamo  # the first optimizer would: a child's 5 s of processor time
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import esper_otel
from esper_otel.comparison.compare import compare
from esper_otel.comparison.curves import Outcome, outcomes_of

RATES: Final = {"a": 1e-3, "b": 2e-3}
SEEDS: Final = 24
GROUP: Final = 6
PAIRS: Final = 100
STEPS: Final = 150


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


def verdicts(a: list[Outcome], b: list[Outcome], *, is_same: bool) -> int:
    """Verdicts on the loss of :data:`PAIRS` pairs of groups that are drawn from ``a`` and ``b``."""
    draw = random.Random(1)
    number = 0
    for _ in range(PAIRS):
        chosen = draw.sample(a, 2 * GROUP)
        other = chosen[GROUP:] if is_same else draw.sample(b, GROUP)
        effects = compare(chosen[:GROUP], other).effects
        number += any(effect.verdict != "none" for effect in effects if effect.at == "equal rounds")
    return number


def main() -> None:
    """Make the runs and count verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    if make(directory):
        return
    sides = [
        [outcome for seed in range(SEEDS) for outcome in outcomes_of(directory / f"{name}{seed}").values()]
        for name in RATES
    ]
    a, b = sides
    sys.stdout.write(f"no verdict on {PAIRS - verdicts(a, a, is_same=True)} of {PAIRS} pairs without a difference\n")
    sys.stdout.write(f"a verdict on {verdicts(a, b, is_same=False)} of {PAIRS} pairs with a difference\n")


if __name__ == "__main__":
    main()
