"""The cases of the labelled set: producer, fault, seed, and which findings would be right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from benchmarks.norms.programs import KINDS as HEALTHY_LOOPS

EXPECTED: Final[dict[str, frozenset[str]]] = {
    # machine and life of a run
    "slow_loader": frozenset({"input_bound"}),
    "memory_leak": frozenset({"memory_growth"}),
    "recompilation": frozenset({"recompilation_storm"}),
    "killed": frozenset({"run_died"}),
    "raised": frozenset({"run_failed"}),
    # learning
    "lr_x30": frozenset({"exploding_gradients", "non_finite", "loss_diverged", "kl_high", "policy_ratio", "clip_high"}),
    "nan_input": frozenset({"non_finite"}),
    "nan_weights": frozenset({"non_finite"}),
    "nan_reward": frozenset({"non_finite"}),
    "poisoned_reward": frozenset({"non_finite"}),
    "bad_batch": frozenset({"exploding_gradients"}),
    "offset_rewards": frozenset({"exploding_gradients"}),
    "huge_reward": frozenset({"exploding_gradients", "critic_failing"}),
    "loss_diverges": frozenset({"loss_diverged", "exploding_gradients", "non_finite"}),
    "deep_sigmoid": frozenset({"vanishing_gradients"}),
    "dead_layer": frozenset({"dead_layers"}),
    "constant_reward": frozenset({"advantages_degenerate"}),
    "entropy_sign": frozenset({"entropy_collapsed", "entropy_coefficient"}),
    "stuck_policy": frozenset({"entropy_collapsed"}),
    "dead_head": frozenset({"entropy_collapsed"}),
    "frozen_critic": frozenset({"critic_failing"}),
    "stale_log_probs": frozenset({"policy_ratio"}),
    "wiped_head": frozenset({"performance_degraded"}),
    "hostage": frozenset({"reward_hacking"}),
    "hostage_losing": frozenset({"reward_hacking"}),
    # ranks
    "slow_rank_sleep": frozenset({"straggler"}),
    "slow_rank_compute": frozenset({"straggler"}),
    "slow_rank_input": frozenset({"straggler"}),
    "killed_rank": frozenset({"rank_missing"}),
}
"""Findings of which one must be there, by fault; of a cause with several consequences any of them."""

EXPECTED_OF: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("esper-lite", "nan_reward"): frozenset({"non_finite", "critic_failing"}),
}
"""The same by producer and fault: esper-lite clips rewards to 10, which turns NaN into 10."""


def expected(producer: str, fault: str) -> frozenset[str]:
    """The findings of which one must be there."""
    return EXPECTED_OF.get((producer, fault), EXPECTED[fault])


LITE_FAULTS: Final = (
    *("lr_x30", "frozen_critic", "slow_loader", "nan_input", "nan_reward", "huge_reward", "killed", "raised"),
)
"""Faults of esper-lite, which is part of the set where ``ESPER_LITE_SRC`` names the directory of its source."""

HALVES: Final = ("tuning", "reported")
"""Rules may be fixed on the first half, the runs with even seeds; figures are of the second."""

HEALTHY: Final = "none"
LONG: Final = ("--seconds", "13")
_LONGER: Final = {"memory_leak": ("--seconds", "16", "--steps", "1500"), "dead_layer": ("--seconds", "6")}
"""Faults that need time to be seen: memory is read, and gradients are measured by layer, every 2 s."""


class Case(msgspec.Struct, frozen=True):
    """One run of the set.

    Attributes:
        name: name of its directory.
        producer: loop, ranks, sb3, trainer or esper-lite.
        fault: the injected fault; ``none`` for a healthy run.
        seed: its seed; rules were fixed on runs with an even one, figures are of those with an odd one.
        command: module of the program and its arguments.
        ranks: processes.
        is_automatic: the program knows nothing of us, and ``autolog()`` records it.
    """

    name: str
    producer: str
    fault: str
    seed: int
    command: tuple[str, ...]
    ranks: int = 1
    is_automatic: bool = True

    @property
    def half(self) -> str:
        """Its half, by its seed."""
        return HALVES[self.seed % 2]


def _case(producer: str, fault: str, seed: int, *command: str, variant: str = "", ranks: int = 1) -> Case:
    name = "-".join(part for part in (producer, variant, fault, str(seed)) if part)
    return Case(name, producer, fault, seed, command, ranks, is_automatic=producer not in {"trainer", "esper-lite"})


def _loops(first: int) -> Iterator[Case]:
    module = ("benchmarks.diagnosing.loops",)
    faults = ("slow_loader", "lr_x30", "nan_input", "memory_leak", "recompilation", "deep_sigmoid", "dead_layer")
    for fault in (*faults, "bad_batch", "killed", "raised", "loss_diverges"):
        for seed in range(first, first + 4):
            more = _LONGER.get(fault, ())
            yield _case("loop", fault, seed, *module, fault, "--seed", str(seed), *more)
    for seed in range(first, first + 18):
        more = LONG if seed < first + 4 else ()
        yield _case("loop", HEALTHY, seed, *module, HEALTHY, "--seed", str(seed), *more)
    for kind in HEALTHY_LOOPS:
        for seed in range(first, first + 4):
            command = ("benchmarks.norms.programs", kind, "--seed", str(seed), "--steps", "300")
            yield _case("loop", HEALTHY, seed, *command, variant=kind)


def _ranks(first: int) -> Iterator[Case]:
    for fault in (HEALTHY, "slow_rank_sleep", "slow_rank_compute", "slow_rank_input", "killed_rank"):
        for seed in range(first, first + (6 if fault == HEALTHY else 4)):
            command = ("benchmarks.diagnosing.loops", fault, "--seed", str(seed), "--steps", "200")
            yield _case("ranks", fault, seed, *command, ranks=3)


def _policies(first: int) -> Iterator[Case]:
    module = ("benchmarks.diagnosing.policies",)
    tasks = (("PPO", "CartPole-v1"), ("A2C", "CartPole-v1"), ("PPO", "Acrobot-v1"), ("PPO", "Pendulum-v1"))
    for algorithm, task in tasks:
        for seed in range(first, first + 6):
            options = ("--algorithm", algorithm, "--task", task, "--seed", str(seed))
            variant = f"{algorithm}-{task.partition('-')[0]}".lower()
            yield _case("sb3", HEALTHY, seed, *module, HEALTHY, *options, variant=variant)
    for fault in ("lr_x30", "entropy_sign", "frozen_critic", "nan_reward", "constant_reward", "huge_reward"):
        for seed in range(first, first + 4):
            yield _case("sb3", fault, seed, *module, fault, "--seed", str(seed), variant="ppo-cartpole")


def _trainers(first: int) -> Iterator[Case]:
    from benchmarks.diagnosing.trainers import FAULTS

    module = ("benchmarks.diagnosing.trainers",)
    for seed in range(first, first + 24):
        modes = ("shaped", "sparse")
        options = ("--seed", str(seed), "--reward-mode", modes[seed // 2 % 2], "--envs", str(2 + seed // 4 % 2))
        yield _case("trainer", HEALTHY, seed, *module, HEALTHY, *options)
    for fault in FAULTS:
        for seed in range(first, first + (2 if fault != HEALTHY else 0)):
            yield _case("trainer", fault, seed, *module, fault, "--seed", str(seed))


def _lites(first: int) -> Iterator[Case]:
    module = ("benchmarks.diagnosing.lite",)
    variants = {
        "shaped": (),
        "sparse": ("--reward-mode", "sparse", "--slots", "r0c0", "r0c1"),
        "passes": ("--passes", "3", "--slots", "r0c0", "r0c1"),
    }
    for seed in range(first, first + 2):
        for variant, options in variants.items():
            yield _case("esper-lite", HEALTHY, seed, *module, HEALTHY, "--seed", str(seed), *options, variant=variant)
        for fault in LITE_FAULTS:
            variant = "passes" if fault == "lr_x30" else "shaped"
            options = variants[variant]
            yield _case("esper-lite", fault, seed, *module, fault, "--seed", str(seed), *options, variant=variant)
    for seed in range(first + 2, first + 4):
        yield _case("esper-lite", HEALTHY, seed, *module, HEALTHY, "--seed", str(seed), variant="shaped")


def cases(first: int = 0) -> list[Case]:
    """Every case, the seeds of each kind apart, so that an interrupted making has something of all.

    Args:
        first: the smallest seed, an even number. With another one than 0 nobody has seen the runs.
    """
    everything = [*_loops(first), *_ranks(first), *_policies(first), *_trainers(first)]
    if "ESPER_LITE_SRC" in os.environ:
        everything += _lites(first)
    return sorted(everything, key=lambda case: case.seed)


if __name__ == "__main__":
    sys.stdout.writelines(f"{case.name}\t{' '.join(case.command)}\n" for case in cases())
