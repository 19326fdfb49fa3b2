"""Recorders against emit(), in C and in Python: what training pays, all roads in turns in one process.

    python -m benchmarks.recording.recorder [--rounds 34] [--only steps] [--figures FILE]

Three measurements, in turns: every round has *steps*, each fifth one the other two as well. *Steps*: ratio of a
training step of 4 ms with events to one without, in blocks without, with, with, without; those whose blocks without
differ by over 15 % are left out. *After a step*: time of 1, 4, 40 events by the clock right after a step, whose
matrices have displaced everything else from the caches. *Lock*: a thread that holds the interpreter's lock all the
time, as a training loop between two calls of torch does, and how much longer it takes for each event at about 10,000 a
second: the calls, the encoder, the disk's thread and the handing over of the lock.

Every way brings the numbers together by keyword, the maps by head included. The machine should have nothing else to
do: what other processes took of it is printed, and the noise is the row that records nothing. 18 minutes on an idle
machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.alternatives.blocks import Blocks, mean
from benchmarks.alternatives.payloads import PAYLOADS, Payload
from benchmarks.alternatives.step import training_step
from benchmarks.emit import percentile
from benchmarks.recording.aims import NOTHING, OURS, report
from benchmarks.recording.quiet import Machine
from benchmarks.recording.roads import ALONE, ROADS, Act, opened
from benchmarks.slowdown import interval, undisturbed_ratios

RATES: Final = (100, 1_000, 10_000)
RATES_OF: Final = {
    NOTHING: RATES[-1:],
    ALONE: RATES[-1:],
    "emit(), in Python": RATES,
    "emit(), native": RATES,
    OURS: RATES,
}
"""Roads of the steps with their rates: others would say nothing new and take time from these."""

QUIET: Final = (
    "Made quiet by: one thread for torch, denormal numbers flushed, no relay, all roads in turns in one process, the "
    "median of the turns, leaving out quadruples whose blocks without events differ by over 15 %."
)
EVENTS: Final = (1, 4, 40)
EVERY: Final = 5
"""Rounds of steps for one of the other two measurements."""

SETTLED_S: Final = 0.06
LOCK_STEPS: Final = 100
LOCK_EVENTS: Final = 40
LOCK_LOOPS: Final = 180_000
"""Some 4 ms."""

TAIL_STEPS: Final = 12
"""Steps without events at the end of a block, 50 ms: what was recorded is encoded and written in them."""

CLOCK_STEPS: Final = 60

Figures = dict[str, list[dict[str, Any]]]


class Lock:
    """µs of a thread with the lock that an event costs, by road and payload; in them the call, in its quickest step."""

    def __init__(self) -> None:
        """Nothing is measured."""
        self._found: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def turn(self) -> None:
        """Measure each road once."""
        for make, road in itertools.product(PAYLOADS.values(), ROADS):
            payload = make()
            with opened(road, payload) as act:
                times = [_held_s(each, payload) for each in (None, act, act, None)]
            events = 2 * (LOCK_STEPS - TAIL_STEPS) * LOCK_EVENTS
            lost_s = times[1][0] + times[2][0] - times[0][0] - times[3][0]
            call_s = min(times[1][1], times[2][1])
            self._found.setdefault((payload.name, road), []).append((lost_s / events * 1e6, call_s * 1e6))

    def rows(self) -> list[dict[str, Any]]:
        """Medians, with their interval."""
        rows = []
        for (payload, road), pairs in self._found.items():
            lost = [lost_us for lost_us, _ in pairs]
            low, high = interval(lost)
            figures = {"lost_us": statistics.median(lost), "low": low, "high": high}
            rows.append({"payload": payload, "road": road, **figures, "call_us": min(call_us for _, call_us in pairs)})
        return rows


def _held_s(act: Act | None, payload: Payload) -> tuple[float, float]:
    """Time of a block of steps that never release the lock by themselves; least CPU time of a call in a step; s."""
    pool, least_s, begin = itertools.cycle(payload.pool), float("inf"), time.perf_counter()
    for step in range(LOCK_STEPS):
        for _ in range(LOCK_LOOPS):
            pass
        if act is not None and step < LOCK_STEPS - TAIL_STEPS:
            before = time.thread_time()
            for _ in range(LOCK_EVENTS):
                act(next(pool))
            least_s = min(least_s, (time.thread_time() - before) / LOCK_EVENTS)
    return time.perf_counter() - begin, least_s


class Steps:
    """Ratio of a step with to one without, and the slowest of 1,000 steps, by payload, rate and road."""

    def __init__(self, step: Callable[[], None], step_s: float) -> None:
        """``step_s``: undisturbed time of ``step``."""
        self._blocks = Blocks(step, step_s)
        self._blocks.without()
        self._found: dict[tuple[str, int, str], list[list[list[float]]]] = {}

    def turn(self) -> None:
        """Measure each road once at each of its rates."""
        for make, (road, rates) in itertools.product(PAYLOADS.values(), RATES_OF.items()):
            payload = make()
            with opened(road, payload) as act:
                for rate in rates:
                    self._found.setdefault((payload.name, rate, road), []).append(self._quad(act, payload, rate))

    def _quad(self, act: Act, payload: Payload, rate: int) -> list[list[float]]:
        """Without, with, with, without. What the last 20 ms recorded is encoded after the blocks with: 5 % of it."""
        pool = itertools.cycle(payload.pool)
        first = self._blocks.without()
        middle = [self._blocks.with_it(lambda: act(next(pool)), rate)[0] for _ in range(2)]
        time.sleep(SETTLED_S)
        return [first, *middle, self._blocks.without()]

    def rows(self) -> list[dict[str, Any]]:
        """Medians, with their interval."""
        return [_cell(payload, rate, road, quads) for (payload, rate, road), quads in self._found.items()]


def _cell(payload: str, rate: int, road: str, quads: list[list[list[float]]]) -> dict[str, Any]:
    ratios = undisturbed_ratios([(mean(a), mean(b), mean(c), mean(d)) for a, b, c, d in quads])
    low, high = interval(ratios)
    without = [time for a, _, _, d in quads for time in (*a, *d)]
    with_it = [time for _, b, c, _ in quads for time in (*b, *c)]
    return {
        "payload": payload,
        "rate": rate,
        "road": road,
        "ratio": statistics.median(ratios),
        "low": low,
        "high": high,
        "quads": len(ratios),
        "left_out": len(quads) - len(ratios),
        "p999_without_ms": percentile(without, 0.999) * 1e3,
        "p999_ms": percentile(with_it, 0.999) * 1e3,
    }


class AfterAStep:
    """µs that 1, 4, 40 events take right after a step, median, by payload and road."""

    def __init__(self, step: Callable[[], None]) -> None:
        """Nothing is measured."""
        self._step = step
        self._found: dict[tuple[str, str], dict[int, list[float]]] = {}

    def turn(self) -> None:
        """Measure each road once."""
        for make, road in itertools.product(PAYLOADS.values(), ROADS):
            payload = make()
            pool = itertools.cycle(payload.pool)
            found = self._found.setdefault((payload.name, road), {events: [] for events in EVENTS})
            with opened(road, payload) as act:
                for number in range(CLOCK_STEPS * len(EVENTS)):
                    events = EVENTS[number % len(EVENTS)]
                    self._step()
                    begin = time.perf_counter()
                    for _ in range(events):
                        act(next(pool))
                    found[events].append((time.perf_counter() - begin) * 1e6)

    def rows(self) -> list[dict[str, Any]]:
        """Medians."""
        return [
            {"payload": payload, "road": road} | {str(events): statistics.median(found[events]) for events in EVENTS}
            for (payload, road), found in self._found.items()
        ]


def measure(rounds: int, only: str | None = None) -> Figures:
    """Rows of each measurement by its name."""
    step, step_s = training_step()
    all_of_it: dict[str, Steps | AfterAStep | Lock] = {
        "steps": Steps(step, step_s),
        "clock": AfterAStep(step),
        "lock": Lock(),
    }
    chosen = {name: each for name, each in all_of_it.items() if only in (None, name)}
    begin = time.perf_counter()
    for number in range(rounds):
        for name, each in chosen.items():
            if name == "steps" or number % EVERY == 0:
                each.turn()
        print(f"{time.perf_counter() - begin:.0f} s: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return {name: each.rows() for name, each in chosen.items()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=34, help="turns that each road gets; one takes half a minute")
    parser.add_argument("--only", choices=["steps", "clock", "lock"], help="one measurement")
    parser.add_argument("--figures", type=Path, help="keep the figures as JSON")
    arguments = parser.parse_args()
    machine = Machine()
    figures = measure(arguments.rounds, arguments.only)
    said = f"{machine.said()} {QUIET}"
    if arguments.figures:
        arguments.figures.write_text(json.dumps({"machine": said, **figures}, indent=1))
    print(f"{said}\n\n{report(figures)}")


if __name__ == "__main__":
    main()
