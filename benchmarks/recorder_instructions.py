"""Instructions of the processor for one event on each road, counted by valgrind: no load changes them.

    python -m benchmarks.recorder_instructions [--events 2000]

Each road runs twice in a process of its own, with so many events and with three times as many; the difference is what
the events take on all threads together. ``unlocked`` is the part of it that runs without the interpreter's lock:
encoding in C. *The numbers alone* is what a call by keyword takes that does nothing, maps by head included: what is
above it is the price of recording. Events come 200 at a time, as in 20 ms at 10,000 a second.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.alternatives.payloads import PAYLOADS
from benchmarks.roads import ROADS, opened, table

A_BATCH: Final = 200
BATCH_S: Final = 0.02
TOTAL: Final = re.compile(r"Collected : (\d+)")
UNLOCKED: Final = re.compile(r"^\s*([\d,]+) .*line\.c:write_line ", re.MULTILINE)


def record(road: str, payload: str, events: int) -> None:
    """Record so many events, in the process that is counted."""
    made = PAYLOADS[payload]()
    pool = itertools.cycle(made.pool)
    with opened(road, made) as act:
        for _ in range(events // A_BATCH):
            for _ in range(A_BATCH):
                act(next(pool))
            time.sleep(BATCH_S)


def count(road: str, payload: str, events: int, directory: Path) -> tuple[int, int]:
    """Instructions of a process that records so many events, and those of them in ``write_line``."""
    out = directory / "callgrind"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable, "-m", __spec__.name]
    done = subprocess.run(
        [*command, "--record", road, payload, str(events)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = TOTAL.search(done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind counted nothing: {done.stderr[-500:]}")
    shown = subprocess.run(
        ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    unlocked = UNLOCKED.search(shown.stdout)
    return int(found[1]), int(unlocked[1].replace(",", "")) if unlocked else 0


def measure(events: int) -> list[dict[str, Any]]:
    """A row for each payload and road."""
    rows = []
    for payload, road in itertools.product(PAYLOADS, list(ROADS)[1:]):
        with tempfile.TemporaryDirectory() as directory:
            few, many = (count(road, payload, number, Path(directory)) for number in (events, 3 * events))
        each, unlocked = ((more - less) / (2 * events) for less, more in zip(few, many, strict=True))
        row = {"payload": payload, "road": road, "all": round(each), "unlocked": round(unlocked)}
        rows.append(row | {"with the lock": round(each - unlocked)})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--record", nargs=3, metavar=("ROAD", "PAYLOAD", "EVENTS"), help="used by the benchmark itself")
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record[0], arguments.record[1], int(arguments.record[2]))
    else:
        print(table(measure(arguments.events)))


if __name__ == "__main__":
    main()
