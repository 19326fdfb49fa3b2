"""Load on one gateway in steps of more ranks, until it refuses; CPU time and memory at each step."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.scaling.gateway import Gateway, Reading, Shape, gateway
from benchmarks.scaling.load import Outcome
from benchmarks.scaling.processes import environment
from benchmarks.scaling.schedule import Schedule

WARM_UP_S: Final = 12.0
"""Beside a round: the wait of tail sampling after its root. From then on as many rounds leave as come."""

WINDOW_S: Final = 25.0
GENERATORS: Final = 2
LATE_S: Final = 2.0
SLOW_S: Final = 5.0
GROWTH_S: Final = 2.0
"""Growth of the disk queue within the window that counts as lag, as the time in which so much comes in."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One number of ranks.

    Attributes:
        cpu_s_per_s: CPU time of the gateway in the window, cores.
        items_per_s: spans, metric points and log records accepted in the window.
        memory_bytes: resident memory of the gateway at the end of the window, mapped files left out.
        refused: items refused at the receiver, or failed for good at an exporter's queue.
        lag: why it does not keep up, empty while it does.
    """

    ranks: int
    cpu_s_per_s: float
    items_per_s: float
    memory_bytes: int
    refused: float
    lag: str

    @property
    def is_sustained(self) -> bool:
        """Nothing was refused and nothing lagged."""
        return not self.refused and not self.lag


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Plan of a climb.

    Attributes:
        ranks: the steps, ascending.
        round_s: length of a round in the schedule; the warm-up is longer.
        to_refusal: whether to go on after the first step that lags, up to one at which the gateway refuses.
    """

    ranks: list[int]
    round_s: float
    to_refusal: bool = False

    def is_over(self, step: Step) -> bool:
        """Return True if ``step`` is the last."""
        return bool(step.refused) or not (self.to_refusal or step.is_sustained)


class Climb(msgspec.Struct, frozen=True, kw_only=True):
    """The steps taken."""

    shape: Shape
    plan: Plan
    steps: list[Step]

    @property
    def sustained_steps(self) -> list[Step]:
        """The steps before the first that was not sustained."""
        return list(itertools.takewhile(lambda step: step.is_sustained, self.steps))

    @property
    def sustained(self) -> Step | None:
        """The last of :attr:`sustained_steps`; None when there is none."""
        return self.sustained_steps[-1] if self.sustained_steps else None

    @property
    def memory_per_rank_bytes(self) -> float | None:
        """Growth of the memory with the ranks over the sustained steps; None when there are fewer than two."""
        kept = self.sustained_steps
        if len(kept) < 2:
            return None
        return (kept[-1].memory_bytes - kept[0].memory_bytes) / (kept[-1].ranks - kept[0].ranks)


def climb(schedule: Schedule, shape: Shape, plan: Plan, directory: Path) -> Climb:
    """Load a new gateway at each step of ``plan``.

    Raises:
        FileNotFoundError: the collector was not built.
        RuntimeError: the gateway or a generator failed.
    """
    directory.mkdir(parents=True)
    (directory / "schedule").write_bytes(msgspec.msgpack.encode(schedule))
    steps: list[Step] = []
    for ranks in plan.ranks:
        with gateway(directory / str(ranks), shape) as running:
            steps.append(_step(running, directory / "schedule", ranks, WARM_UP_S + plan.round_s))
        print(steps[-1], flush=True)
        if plan.is_over(steps[-1]):
            break
    return Climb(shape=shape, plan=plan, steps=steps)


def _step(running: Gateway, schedule: Path, ranks: int, warm_up_s: float) -> Step:
    share = [ranks // GENERATORS + (i < ranks % GENERATORS) for i in range(GENERATORS)]
    seconds = warm_up_s + WINDOW_S + 2
    generators = [_generator(running, schedule, sum(share[:i]), count, seconds) for i, count in enumerate(share)]
    try:
        time.sleep(warm_up_s)
        before = running.read()
        time.sleep(WINDOW_S)
        after = running.read()
        outcomes = [_outcome(generator) for generator in generators]
        final = running.read()
    finally:
        for generator in generators:
            generator.kill()
            generator.communicate()
    duration_s = after.at_s - before.at_s
    return Step(
        ranks=ranks,
        cpu_s_per_s=(after.cpu_s - before.cpu_s) / duration_s,
        items_per_s=(after.accepted - before.accepted) / duration_s,
        memory_bytes=after.memory_bytes,
        refused=final.refused + final.failed,
        lag=_lag(before, after, outcomes, seconds),
    )


def _lag(before: Reading, after: Reading, outcomes: list[Outcome], seconds: float) -> str:
    late_s = max(outcome.late_s for outcome in outcomes)
    slowest_s = max(outcome.slowest_s for outcome in outcomes)
    growth = after.queued_bytes - before.queued_bytes
    bytes_per_s = sum(sum(outcome.sent_bytes.values()) for outcome in outcomes) / seconds
    unanswered = sum(count for one in outcomes for status, count in one.answers.items() if status != "OK")
    found = []
    if late_s > LATE_S:
        found.append(f"agents were {late_s:.0f} s behind")
    if slowest_s > SLOW_S:
        found.append(f"an answer took {slowest_s:.0f} s")
    if growth > GROWTH_S * bytes_per_s:
        found.append(f"the queue grew by {growth / 2**20:.0f} MiB")
    if unanswered:
        found.append(f"{unanswered} exports failed")
    return ", ".join(found)


def _generator(running: Gateway, schedule: Path, first: int, ranks: int, seconds: float) -> subprocess.Popen[str]:
    target = running.target
    command = [sys.executable, "-m", "benchmarks.scaling.load", str(schedule), "--endpoint", target.endpoint]
    command += ["--authority", str(target.authority), "--token", str(target.token)]
    command += ["--first", str(first), "--ranks", str(ranks), "--seconds", str(seconds)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)


def _outcome(generator: subprocess.Popen[str]) -> Outcome:
    out, _ = generator.communicate(timeout=120)
    if generator.returncode:
        raise RuntimeError(f"a load generator ended with status {generator.returncode}")
    return msgspec.json.decode(out, type=Outcome)
