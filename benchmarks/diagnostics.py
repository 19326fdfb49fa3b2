"""Cost of each diagnostics tier, as a share of training time.

    python benchmarks/diagnostics.py [--rounds 12] [--recipe demo] [--envs 2] [--emit] [--json FILE]

Four trainings with the same seed, one per level, take turns in one process: a round of each, in an order that rotates.
All of them do the same work on the same weights, which is checked, so a round differs from its twin only by what it
collects. The cost is (time at the level / time at ``off``) - 1 over all rounds, with a 95 % interval from resampling
pairs of rounds. ``inside`` is what the calls that only diagnostics make took themselves, as a share of the same time:
it leaves out what they do to caches but hardly varies. ``--emit`` also builds the events and writes them to a log.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import torch

import esper_otel
from trainer.__main__ import final_weights
from trainer.gradient_flow import Layers
from trainer.recipes import RECIPES, Recipe
from trainer.simic.emission import Emitter
from trainer.simic.loop import Training
from trainer.simic.observer import Observer, Silent
from trainer.tamiyo import ppo
from trainer.tiers import LEVELS
from trainer.tolaria import training as training_module
from trainer.tolaria.host import Host
from trainer.tolaria.weights import digest

Times = dict[str, list[float]]

RESAMPLED: Final = 2000
LIMIT: Final = 0.03
"""Share of training time that the default level may cost."""

PROBED: Final[tuple[tuple[Any, str], ...]] = (
    (ppo, "details"),
    (ppo, "moved"),
    (ppo, "parameter_norms"),
    (torch.nn.utils, "get_total_norm"),
    (ppo.PPO, "_batch_statistics"),
    (Layers, "measure"),
    (Layers, "flow"),
    (Host, "seed_changes"),
    (training_module, "output_similarity"),
)
"""Calls that training without diagnostics does not make."""


def measure(recipe: Recipe, emitting: bool) -> tuple[Times, Times]:
    """Seconds of CPU that each round took, and those inside of diagnostics, by level."""
    arms = {level: Training(replace(recipe, diagnostics=level), _observer(emitting)) for level in LEVELS}
    for training in arms.values():
        training.begin()
    times: Times = {level: [] for level in LEVELS}
    inside: Times = {level: [] for level in LEVELS}
    for number in range(recipe.rounds):
        order = [LEVELS[(number + i) % len(LEVELS)] for i in range(len(LEVELS))]
        for level in order:
            spent = [0.0]
            start = time.process_time()
            with clocked(spent):
                arms[level].advance()
            times[level].append(time.process_time() - start)
            inside[level].append(spent[0])
    digests = {digest(final_weights(training)) for training in arms.values()}
    if len(digests) > 1:
        raise SystemExit("the levels ended in different weights: they cannot be compared")
    return times, inside


def _observer(emitting: bool) -> Observer:
    return Emitter() if emitting else Silent()


def cost(times: Times, inside: Times, level: str) -> dict[str, float]:
    """Share of training time that ``level`` adds to ``off``; the first round warms up and is left out."""
    pairs = list(zip(times[level][1:], times["off"][1:], strict=True))
    draw = random.Random(0)
    samples = sorted(_share(draw.choices(pairs, k=len(pairs))) for _ in range(RESAMPLED))
    return {
        "share": _share(pairs),
        "low": samples[int(0.025 * RESAMPLED)],
        "high": samples[int(0.975 * RESAMPLED)],
        "inside": sum(inside[level][1:]) / sum(times["off"][1:]),
    }


def _share(pairs: list[tuple[float, float]]) -> float:
    return sum(on for on, _ in pairs) / sum(off for _, off in pairs) - 1.0


@contextmanager
def clocked(spent: list[float]) -> Iterator[None]:
    """Add up in ``spent[0]`` the CPU seconds of the calls that only diagnostics make."""
    with ExitStack() as stack:
        for owner, name in PROBED:
            stack.enter_context(mock.patch.object(owner, name, _timed(getattr(owner, name), spent)))
        yield


def _timed(call: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return call(*args, **kwargs)
        finally:
            spent[0] += time.process_time() - start

    return timed


def main() -> int:
    """Measure and print a table; exit status 1 if the default level costs 3 % or more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each level")
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="demo")
    parser.add_argument("--envs", type=int, help="environments")
    parser.add_argument("--emit", action="store_true", help="build events and write a log as well")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    base = RECIPES[given.recipe]
    recipe = replace(base, rounds=given.rounds, envs=given.envs or base.envs, interventions=())
    with tempfile.TemporaryDirectory() as folder:
        if given.emit:
            esper_otel.configure(telemetry_dir=folder, relay=False)
        times, inside = measure(recipe, given.emit)
        esper_otel.shutdown()
    off = statistics.fmean(times["off"][1:])
    print(
        f"{recipe.name}, {recipe.envs} environments, {recipe.rounds - 1} rounds; a round at level off: {off:.3f} s CPU"
    )
    print("level    cost of training time   95 % interval       inside")
    costs = {level: cost(times, inside, level) for level in LEVELS[1:]}
    for level, c in costs.items():
        default = " (default)" if level == base.diagnostics else ""
        interval = f"{c['low']:+7.2%} … {c['high']:+7.2%}"
        print(f"{level:8} {c['share']:+8.2%}            {interval} {c['inside']:8.2%}{default}")
    if given.json:
        given.json.write_text(json.dumps({"times": times, "costs": costs}, indent=1))
    return 0 if costs[base.diagnostics]["share"] < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
