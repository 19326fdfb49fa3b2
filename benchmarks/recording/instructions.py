"""Instructions of the processor for one event on each road, counted by valgrind: no load changes them.

    python -m benchmarks.recording.instructions [--events 4000] [--only "recorder, native"]

Each road runs in a process of its own; all its threads are counted from the first event until the last is written.
``unlocked`` is the part that runs without the interpreter's lock: encoding in C. *The numbers alone* is what a call by
keyword takes that does nothing, maps by head included: what is above it is the price of recording. Events come 200 at a
time, as in 20 ms at 10,000 a second.
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
from benchmarks.recording.roads import ALONE, ROADS, opened, table
from esper_otel.native import state

A_BATCH: Final = 200
BATCH_S: Final = 0.02
SETTLED_S: Final = 1.0
TOTAL: Final = re.compile(r"Collected : (\d+)")
UNLOCKED: Final = re.compile(r"^\s*([\d,]+) .*:write_line ", re.MULTILINE)
"""With the name of its file, or ``???`` where the compiler wrote none."""


def record(road: str, payload: str, events: int) -> None:
    """Record so many events, in the process that is counted."""
    made = PAYLOADS[payload]()
    pool = itertools.cycle(made.pool)
    with opened(road, made) as act:
        counting("on")
        for _ in range(events // A_BATCH):
            for _ in range(A_BATCH):
                act(next(pool))
            time.sleep(BATCH_S)
        time.sleep(SETTLED_S)
        counting("off")


def counting(switch: str) -> None:
    """Have valgrind count from now on, or no more."""
    subprocess.run(["callgrind_control", f"--instr={switch}", str(os.getpid())], stdout=subprocess.DEVNULL, check=True)


def count(road: str, payload: str, events: int, directory: Path) -> tuple[int, int]:
    """Instructions of so many events, and those of them in ``write_line``."""
    out = directory / "callgrind"
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    done = subprocess.run(
        [*command, sys.executable, "-m", __spec__.name, "--record", road, payload, str(events)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = TOTAL.search(done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind counted nothing: {done.stderr[-500:]}")
    annotate = ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(out)]
    shown = subprocess.run(annotate, capture_output=True, text=True, check=True)
    unlocked = UNLOCKED.search(shown.stdout)
    if unlocked is None and ROADS[road][0] == "1" and road != ALONE:
        raise RuntimeError(f"{road}: no line was written in C: {state()}")
    return int(found[1]), int(unlocked[1].replace(",", "")) if unlocked else 0


def measure(events: int, only: str) -> list[dict[str, Any]]:
    """A row for each payload and road whose name holds ``only``."""
    rows = []
    for payload, road in itertools.product(PAYLOADS, [road for road in list(ROADS)[1:] if only in road]):
        with tempfile.TemporaryDirectory() as directory:
            each, unlocked = (number / events for number in count(road, payload, events, Path(directory)))
        row = {"payload": payload, "road": road, "all": round(each), "unlocked": round(unlocked)}
        rows.append(row | {"with the lock": round(each - unlocked)})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000)
    parser.add_argument("--only", default="", help="roads whose name holds this")
    parser.add_argument("--record", nargs=3, metavar=("ROAD", "PAYLOAD", "EVENTS"), help="used by the benchmark itself")
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record[0], arguments.record[1], int(arguments.record[2]))
    else:
        print(table(measure(arguments.events, arguments.only)))


if __name__ == "__main__":
    main()
