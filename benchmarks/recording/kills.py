"""Events that ``kill -9`` takes, on each road: a process that records is killed at random times, again and again.

    python -m benchmarks.recording.kills [--kills 1000] [--road "recorder, native"] [--figures FILE]

The process reports over a pipe what it has recorded and when. Lost is what it reported and the log does not contain;
the age is that of the oldest such event at the kill. The promise is 50 ms on a machine with a core to spare.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import esper_otel
from benchmarks.emit import percentile
from benchmarks.recording.roads import table
from esper_otel.events import Decision
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.reader import LogReader
from esper_otel.native import loading

PROMISE_MS: Final = 50.0
ROADS: Final = {
    "emit(), in Python": ("emit", "0"),
    "recorder, in Python": ("recorder", "0"),
    "emit(), native": ("emit", "1"),
    "recorder, native": ("recorder", "1"),
}


def kill(road: str, after_s: float) -> tuple[int, int, float]:
    """Kill a process ``after_s`` its first event: events it reported, those lost, age in ms of the oldest lost one.

    Raises:
        AssertionError: the log has a gap or a damaged line before its end.
    """
    with tempfile.TemporaryDirectory() as directory:
        read_end, write_end = os.pipe()
        process = os.fork()  # which saves the second that a new interpreter takes to import everything
        if process == 0:
            os.close(read_end)
            try:
                _record(Path(directory), *ROADS[road], write_end)
            finally:
                os._exit(1)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as reports_of_it:
            told = [reports_of_it.readline()]
            time.sleep(after_s)
            os.kill(process, signal.SIGKILL)
            killed_at = time.monotonic()
            told += reports_of_it.readlines()
        os.waitpid(process, 0)
        found = _read(Path(directory) / "r")
    kept = [item.seq for item in found if isinstance(item, Record)]
    assert [*range(1, len(kept) + 1)] == kept, "the log has a gap"
    assert not [item for item in found[:-1] if isinstance(item, BadLine)], "the log has a damaged line"
    reports = [(int(count), float(at)) for count, at in (line.split() for line in told if line.endswith(b"\n"))]
    lost = [at for count, at in reports if count > len(kept) and at < killed_at]
    return reports[-1][0], max(reports[-1][0] - len(kept), 0), (killed_at - min(lost)) * 1e3 if lost else 0.0


def _read(run: Path) -> list[Record | BadLine]:
    """Lines of a run; none if it was killed before there was a log."""
    try:
        with LogReader(run) as reader:
            return list(reader.read(1_000_000))
    except FileNotFoundError:
        return []


def _record(directory: Path, way: str, native: str, reports: int) -> None:
    """Record ten events every 2 ms, and report how many and when, until the end comes."""
    os.environ[loading.VARIABLE] = native
    loading._loaded.cache_clear()
    esper_otel.configure(telemetry_dir=directory, run_id="r", relay=False, heartbeat_s=0)
    record, emit = esper_otel.recorder(Decision), esper_otel.emit
    for count in itertools.count(10, 10):
        for number in range(count - 9, count + 1):
            if way == "recorder":
                record(env_id=number, total_reward=0.5)
            else:
                emit(Decision(env_id=number, total_reward=0.5))
        os.write(reports, b"%d %.6f\n" % (count, time.monotonic()))
        time.sleep(0.002)


def measure(kills: int, roads: Sequence[str], figures: Path) -> list[dict[str, Any]]:
    """A row for each road in ``figures``, after as many further kills on each of ``roads``, in turns."""
    times = random.Random()
    with figures.open("a", encoding="utf-8") as kept:
        for number in range(kills):
            for road in roads:
                print(json.dumps([road, *kill(road, times.uniform(0.05, 0.3))]), file=kept, flush=True)
            if number % 50 == 49:
                print(f"{number + 1} kills, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    taken: dict[str, list[tuple[int, int, float]]] = {}
    for line in figures.read_text(encoding="utf-8").splitlines():
        road, *found = json.loads(line)
        taken.setdefault(road, []).append(tuple(found))
    return [_row(road, taken[road]) for road in ROADS if road in taken]


def _row(road: str, kills: list[tuple[int, int, float]]) -> dict[str, Any]:
    ages = [age for _, _, age in kills]
    return {
        "road": road,
        "kills": len(kills),
        "events": sum(told for told, _, _ in kills),
        "lost": sum(lost for _, lost, _ in kills),
        "median age, ms": statistics.median(ages),
        "99 % below, ms": percentile(ages, 0.99),
        "greatest age, ms": max(ages),
        "older than 50 ms": sum(age > PROMISE_MS for age in ages),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="on each road")
    parser.add_argument("--road", action="append", choices=list(ROADS), help="instead of all; may be given again")
    parser.add_argument("--figures", type=Path, help="add to what this file holds, and make the table of all of it")
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        figures = arguments.figures or Path(directory) / "figures"
        rows = measure(arguments.kills, arguments.road or list(ROADS), figures)
    print(f"{os.cpu_count()} cores, load {before:.1f} before, {os.getloadavg()[0]:.1f} after\n\n{table(rows)}")


if __name__ == "__main__":
    main()
