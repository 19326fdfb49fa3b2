"""Events that ``kill -9`` takes, on each road: a process that records is killed at random times, again and again.

    python -m benchmarks.recording.kills [--kills 1000]

The process reports over a pipe what it has recorded and when. Lost is what it reported and the log does not contain;
the age is that of the oldest such event at the kill. The promise is 50 ms on a machine with a core to spare.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.recording.roads import table
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.reader import LogReader

CHILD: Final = """
import os, sys, time
import esper_otel
from esper_otel.events import Decision
esper_otel.configure(telemetry_dir=sys.argv[1], run_id="r", relay=False, heartbeat_s=0)
record, emit = esper_otel.recorder(Decision), esper_otel.emit
n = 0
while True:
    for _ in range(10):
        n += 1
        if sys.argv[2] == "recorder":
            record(env_id=n, total_reward=0.5)
        else:
            emit(Decision(env_id=n, total_reward=0.5))
    os.write(1, b"%d %.6f\\n" % (n, time.monotonic()))
    time.sleep(0.002)
"""
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
    way, native = ROADS[road]
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-c", CHILD, directory, way]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "ESPER_OTEL_NATIVE": native}
        ) as process:
            assert process.stdout is not None
            told = [process.stdout.readline()]
            time.sleep(after_s)
            process.kill()
            killed_at = time.monotonic()
            told += process.stdout.readlines()
        with LogReader(Path(directory) / "r") as reader:
            found = reader.read(1_000_000)
    kept = [item.seq for item in found if isinstance(item, Record)]
    assert [*range(1, len(kept) + 1)] == kept, "the log has a gap"
    assert not [item for item in found[:-1] if isinstance(item, BadLine)], "the log has a damaged line"
    reports = [(int(count), float(at)) for count, at in (line.split() for line in told if line.endswith(b"\n"))]
    lost = [at for count, at in reports if count > len(kept) and at < killed_at]
    return reports[-1][0], max(reports[-1][0] - len(kept), 0), (killed_at - min(lost)) * 1e3 if lost else 0.0


def measure(kills: int) -> list[dict[str, Any]]:
    """A row for each road, from kills in turns."""
    times = random.Random(5)
    taken: dict[str, list[tuple[int, int, float]]] = {road: [] for road in ROADS}
    for _ in range(kills):
        for road in ROADS:
            taken[road].append(kill(road, times.uniform(0.05, 0.3)))
    return [
        {
            "road": road,
            "kills": len(rows),
            "events": sum(told for told, _, _ in rows),
            "lost": sum(lost for _, lost, _ in rows),
            "median age, ms": statistics.median(age for _, _, age in rows),
            "greatest age, ms": max(age for _, _, age in rows),
        }
        for road, rows in taken.items()
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="on each road")
    before = os.getloadavg()[0]
    rows = measure(parser.parse_args().kills)
    print(f"{os.cpu_count()} cores, load {before:.1f} before, {os.getloadavg()[0]:.1f} after\n\n{table(rows)}")


if __name__ == "__main__":
    main()
