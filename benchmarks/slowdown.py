"""Slow-down of training: a step of about 4 ms with each way of recording, against the same step without.

    python -m benchmarks.slowdown [--quads 4] [--ours 14] [--only NAME]

Each way runs in a process of its own, in blocks of 0.2 s in the order without, with, with, without; the ratio is the
median over these, with a bootstrap interval of 95 %. Where the blocks without recording differ by more than 15 %,
something else was at work on the machine, and the four are left out. A rate is events a second of undisturbed training:
what belongs to a step is recorded after it. Relay, OTLP receiver and scraper run in processes of their own.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from benchmarks.alternatives.blocks import Cell
from benchmarks.alternatives.sink import sink
from benchmarks.alternatives.ways import NOTHING, OURS, OURS_BUILT, OURS_RECORDER, WAYS
from benchmarks.alternatives.worker import Result
from benchmarks.emit import percentile

RESAMPLES: Final = 2_000
DISTURBED: Final = 1.15
"""Where the two blocks without recording of one A B B A differ by more, something else was at work: left out."""

LONGEST_S: Final = 900


def measure(quads: int, quads_ours: int, only: str | None = None) -> list[dict[str, Any]]:
    """A row for each way, payload and rate."""
    rows: list[dict[str, Any]] = []
    with sink() as endpoint:
        for name in WAYS:
            if only is not None and only not in name:
                continue
            count = quads_ours if name in {NOTHING, OURS, OURS_BUILT, OURS_RECORDER} else quads
            result = _worker(name, endpoint, count)
            if result.unavailable:
                rows.append({"way": name, "unavailable": result.unavailable})
            rows += [_row(cell, result.step_s) for cell in result.cells]
            print(f"{name}: {result.unavailable or 'measured'}", file=sys.stderr, flush=True)
    return rows


def _worker(name: str, endpoint: str, quads: int) -> Result:
    command = [sys.executable, "-m", "benchmarks.alternatives.worker", name, endpoint, "--quads", str(quads)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "ESPER_OTEL_", "WANDB_"))}
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command, check=False, stdout=subprocess.PIPE, stderr=errors, timeout=LONGEST_S, env=kept
            )
        except subprocess.TimeoutExpired:
            return Result([], unavailable=f"not done after {LONGEST_S} s")
        if done.returncode == 0 and done.stdout:
            return msgspec.json.decode(done.stdout, type=Result)
        errors.seek(0)
        last = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        return Result([], unavailable=f"ended with status {done.returncode}: {' '.join(last)}")


def _row(cell: Cell, step_s: float) -> dict[str, Any]:
    ratios = undisturbed_ratios(cell.quads)
    low, high = interval(ratios)
    usual = statistics.median(cell.without)
    return {
        "way": cell.way,
        "payload": cell.payload,
        "rate": cell.rate,
        "ratio": statistics.median(ratios),
        "low": low,
        "high": high,
        "quads": len(ratios),
        "left_out": len(cell.quads) - len(ratios),
        "step_ms": step_s * 1e3,
        "p99_without_ms": percentile(cell.without, 0.99) * 1e3,
        "p99_with_ms": percentile(cell.with_it, 0.99) * 1e3,
        "p999_without_ms": percentile(cell.without, 0.999) * 1e3,
        "p999_with_ms": percentile(cell.with_it, 0.999) * 1e3,
        "stalls_without": _share(cell.without, usual),
        "stalls_with": _share(cell.with_it, usual),
        "events": cell.events,
        "lost": cell.lost,
    }


def undisturbed_ratios(quads: Sequence[tuple[float, float, float, float]]) -> list[float]:
    """Ratios with to without of each undisturbed A B B A; of all if all were disturbed."""
    quiet = [quad for quad in quads if 1 / DISTURBED < quad[0] / quad[3] < DISTURBED] or quads
    return [(second + third) / (first + fourth) for first, second, third, fourth in quiet]


def _share(times: list[float], usual: float) -> float:
    """The share of steps that took more than 2 ms longer than usual."""
    return sum(time > usual + 2e-3 for time in times) / len(times)


def interval(values: list[float]) -> tuple[float, float]:
    """Bootstrap interval of 95 % of the median."""
    choices = random.Random(3)
    medians = sorted(statistics.median(choices.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quads", type=int, default=4, help="A B B A for each cell of an alternative")
    parser.add_argument("--ours", type=int, default=14, help="the same for ours and for nothing")
    parser.add_argument("--only", help="ways whose name holds this")
    arguments = parser.parse_args()
    for row in measure(arguments.quads, arguments.ours, arguments.only):
        print(msgspec.json.encode(row).decode())


if __name__ == "__main__":
    main()
