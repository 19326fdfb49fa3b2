"""Parts of the slow-down of training: building events, recording them, the relay, other work on the machine.

    python -m benchmarks.slowdown_parts [--quads 24]

Each part alone slows the training step of :mod:`benchmarks.slowdown`, in blocks without, with, with, without. A
neighbour is a process that has nothing to do with training and uses a core for a part of each 20 ms. The second table
is what the training thread pays by the clock right after a step, whose matrices have displaced everything else from the
caches.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

import esper_otel
from benchmarks.alternatives.blocks import Blocks, mean
from benchmarks.alternatives.ours import Ours
from benchmarks.alternatives.payloads import Numbers, decision
from benchmarks.alternatives.sink import sink
from benchmarks.alternatives.step import training_step
from benchmarks.slowdown import interval, undisturbed_ratios

Act = Callable[[Numbers], object]
Settle = Callable[[], object]

RATES: Final = (1_000, 10_000)
NEIGHBOURS: Final = (0.3, 1.0)
PERIOD_S: Final = 0.02
SETTLED_S: Final = 0.05
EVENTS: Final = (1, 4, 40)
STEPS: Final = 500
PAYLOAD: Final = decision()
READY: Final = {numbers: PAYLOAD.build(numbers) for numbers in PAYLOAD.pool}
BUSY: Final = """
import sys, time
busy_s, period_s = map(float, sys.argv[1:])
while True:
    until = time.perf_counter() + busy_s
    while time.perf_counter() < until:
        pass
    time.sleep(max(period_s - busy_s, 0))
"""


def _nothing(_: Numbers) -> None:
    """Record nothing."""


def _emit_ready(numbers: Numbers) -> None:
    esper_otel.emit(READY[numbers])


def _emit_built(numbers: Numbers) -> None:
    esper_otel.emit(PAYLOAD.build(numbers))


@contextmanager
def _plain() -> Iterator[Settle]:
    yield lambda: time.sleep(SETTLED_S)


@contextmanager
def _log_alone() -> Iterator[Settle]:
    with tempfile.TemporaryDirectory() as directory:
        esper_otel.configure(telemetry_dir=Path(directory) / "run", relay=False)
        try:
            yield lambda: time.sleep(SETTLED_S)
        finally:
            esper_otel.shutdown()


@contextmanager
def _with_relay() -> Iterator[Settle]:
    way = Ours()
    with tempfile.TemporaryDirectory() as directory, sink() as endpoint:
        way.open(Path(directory) / "run", endpoint)
        try:
            yield way.settle
        finally:
            way.close()


PARTS: Final[dict[str, tuple[Callable[[], Any], Act]]] = {
    "nothing (A/A)": (_plain, _nothing),
    "building the events": (_plain, PAYLOAD.build),
    "recording them, built before": (_log_alone, _emit_ready),
    "building and recording them": (_log_alone, _emit_built),
    "the same with the relay, scraped and sending OTLP": (_with_relay, _emit_built),
}

CLOCKED: Final[dict[str, Act]] = {
    "nothing but the call": _nothing,
    "emit(), built before": _emit_ready,
    "building and emit()": _emit_built,
}


class Parts:
    """Measures parts of the slow-down with one training step."""

    def __init__(self, quads: int) -> None:
        """``quads`` A B B A for each figure."""
        self._quads = quads
        self._step, step_s = training_step()
        self._blocks = Blocks(self._step, step_s)
        self._pool = itertools.cycle(PAYLOAD.pool)
        for _ in range(3):
            self._blocks.without()

    def recording(self, act: Act, rate: int, settle: Settle) -> dict[str, float]:
        """The ratio and its interval with ``act`` for each event."""

        def with_it() -> float:
            times, _ = self._blocks.with_it(lambda: act(next(self._pool)), rate)
            settle()
            return mean(times)

        return self._ratio(with_it)

    def neighbour(self, share: float) -> dict[str, float]:
        """The ratio and its interval beside a process that uses ``share`` of a core."""

        def with_it() -> float:
            command = [sys.executable, "-c", BUSY, str(share * PERIOD_S), str(PERIOD_S)]
            with subprocess.Popen(command) as other:
                time.sleep(SETTLED_S)
                times = self._blocks.without()
                other.kill()
            return mean(times)

        return self._ratio(with_it)

    def by_the_clock(self, act: Act, events: int) -> float:
        """Time in µs that ``events`` take right after a step, median."""
        taken = []
        for _ in range(STEPS):
            self._step()
            started = time.perf_counter()
            for _ in range(events):
                act(next(self._pool))
            taken.append(time.perf_counter() - started)
        return statistics.median(taken) * 1e6

    def _ratio(self, with_it: Callable[[], float]) -> dict[str, float]:
        blocks = self._blocks
        ratios = undisturbed_ratios(
            [(mean(blocks.without()), with_it(), with_it(), mean(blocks.without())) for _ in range(self._quads)]
        )
        low, high = interval(ratios)
        return {"ratio": statistics.median(ratios), "low": low, "high": high}


def measure(quads: int) -> dict[str, list[dict[str, Any]]]:
    """The tables ``ratios`` (of a step, by part and rate) and ``clock`` (µs right after a step, by events)."""
    parts = Parts(quads)
    ratios: list[dict[str, Any]] = []
    for name, (environment, act) in PARTS.items():
        with environment() as settle:
            ratios += [{"part": name, "rate": rate} | parts.recording(act, rate, settle) for rate in RATES]
    for share in NEIGHBOURS:
        name = f"a neighbour that uses {share:.0%} of a core, no events"
        ratios.append({"part": name, "rate": RATES[-1]} | parts.neighbour(share))
    with _log_alone():
        clock = [
            {"part": name, "events": events, "us": parts.by_the_clock(act, events)}
            for name, act in CLOCKED.items()
            for events in EVENTS
        ]
    return {"ratios": ratios, "clock": clock}


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quads", type=int, default=24)
    for rows in measure(parser.parse_args().quads).values():
        for row in rows:
            print(msgspec.json.encode(row).decode())


if __name__ == "__main__":
    main()
