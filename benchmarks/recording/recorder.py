"""Recorders against emit(), in C and in Python: what training pays, all roads in turns in one process.

    python -m benchmarks.recording.recorder [--rounds 8] [--only lock]

Three tables. *Lock*: a thread that holds the interpreter's lock all the time, as a training loop between two calls of
torch does, and how much longer it takes for each event at about 10,000 a second: the calls, the encoder, the disk's
thread and the handing over of the lock. *Steps*: ratio of a training step of 4 ms with events to one without, in blocks
without, with, with, without; those whose blocks without differ by over 15 % are left out. *After a step*: time of 1, 4,
40 events by the clock right after a step, whose matrices have displaced everything else from the caches.

Every way brings the numbers together by keyword, the maps by head included. The load of the machine is printed before
and after: the figures of a busy one say little.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from typing import Any, Final

from benchmarks.alternatives.blocks import Blocks, mean
from benchmarks.alternatives.payloads import PAYLOADS, Payload
from benchmarks.alternatives.step import training_step
from benchmarks.emit import percentile
from benchmarks.recording.roads import ROADS, Act, opened, table
from benchmarks.slowdown import interval, undisturbed_ratios

RATES: Final = (100, 1_000, 10_000)
EVENTS: Final = (1, 4, 40)
LOCK_STEPS: Final = 100
LOCK_EVENTS: Final = 40
LOCK_LOOPS: Final = 180_000
"""Some 4 ms."""

TAIL_STEPS: Final = 12
"""Steps without events at the end of a block, 50 ms: what was recorded is encoded and written in them."""

CLOCK_STEPS: Final = 60


def lock(rounds: int) -> list[dict[str, Any]]:
    """µs of a thread with the lock that an event costs, by road and payload; in them the call, in its quickest step."""
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _, make, road in itertools.product(range(rounds), PAYLOADS.values(), ROADS):
        payload = make()
        with opened(road, payload) as act:
            times = [_held_s(each, payload) for each in (None, act, act, None)]
        events = 2 * (LOCK_STEPS - TAIL_STEPS) * LOCK_EVENTS
        lost_s = times[1][0] + times[2][0] - times[0][0] - times[3][0]
        rows.setdefault((payload.name, road), []).append((lost_s / events, min(times[1][1], times[2][1])))
    return [
        {
            "payload": payload,
            "road": road,
            "lost_us": statistics.median(lost_s for lost_s, _ in pairs) * 1e6,
            "call_us": min(call_s for _, call_s in pairs) * 1e6,
        }
        for (payload, road), pairs in rows.items()
    ]


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


def steps(rounds: int) -> list[dict[str, Any]]:
    """Ratio of a step with to one without, and the slowest of 1,000 steps, by payload, rate and road."""
    step, step_s = training_step()
    blocks = Blocks(step, step_s)
    blocks.without()
    cells: dict[tuple[str, int, str], list[list[list[float]]]] = {}
    for _, make, rate, road in itertools.product(range(rounds), PAYLOADS.values(), RATES, ROADS):
        payload = make()
        with opened(road, payload) as act:
            cells.setdefault((payload.name, rate, road), []).append(_quad(blocks, act, payload, rate))
    return [_cell(payload, rate, road, quads) for (payload, rate, road), quads in cells.items()]


def _quad(blocks: Blocks, act: Act, payload: Payload, rate: int) -> list[list[float]]:
    pool = itertools.cycle(payload.pool)
    quad = [blocks.without()]
    for _ in range(2):
        quad.append(blocks.with_it(lambda: act(next(pool)), rate)[0])
        time.sleep(0.06)
    return [*quad, blocks.without()]


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
        "p999_without_ms": percentile(without, 0.999) * 1e3,
        "p999_ms": percentile(with_it, 0.999) * 1e3,
    }


def after_a_step(rounds: int) -> list[dict[str, Any]]:
    """µs that 1, 4, 40 events take right after a step, median, by payload and road."""
    step, _ = training_step()
    taken: dict[tuple[str, str, int], list[float]] = {}
    for _, make, road in itertools.product(range(rounds), PAYLOADS.values(), ROADS):
        payload = make()
        pool = itertools.cycle(payload.pool)
        with opened(road, payload) as act:
            for number in range(CLOCK_STEPS * len(EVENTS)):
                events = EVENTS[number % len(EVENTS)]
                step()
                begin = time.perf_counter()
                for _ in range(events):
                    act(next(pool))
                taken.setdefault((payload.name, road, events), []).append(time.perf_counter() - begin)
    return [
        {"payload": payload, "road": road}
        | {str(events): statistics.median(taken[payload, road, events]) * 1e6 for events in EVENTS}
        for payload, road in dict.fromkeys(key[:2] for key in taken)
    ]


def main() -> None:
    """Print the tables, each as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="turns that each road gets")
    parser.add_argument("--only", choices=["lock", "steps", "clock"], help="one table")
    arguments = parser.parse_args()
    for name, measure in {"lock": lock, "clock": after_a_step, "steps": steps}.items():
        if arguments.only in (None, name):
            before = os.getloadavg()[0]
            rows = measure(arguments.rounds)
            print(f"\n{name}: {os.cpu_count()} cores, load {before:.1f} before, {os.getloadavg()[0]:.1f} after\n")
            print(table(rows), flush=True)


if __name__ == "__main__":
    main()
