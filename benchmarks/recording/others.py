"""CPU time of an event in the training process: ours beside others that record one, each in a process of its own.

    python -m benchmarks.recording.others [--rounds 5] [--only NAME]

Events come 40 at a time every 4 ms, as from a training step, and the ways take turns. *Training thread* is the call
with what it takes to bring the numbers into the form that the way takes; *process* is that and the threads beside it,
which share the interpreter's lock. It is CPU time: other work on the machine makes caches colder and counts no further.
What has no package for this Python says so: NeMo Lens needs 3.13.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.alternatives.payloads import PAYLOADS
from benchmarks.alternatives.sink import sink
from benchmarks.alternatives.way import UnavailableError
from benchmarks.alternatives.ways import WAYS
from benchmarks.recording.quiet import Machine
from benchmarks.table.cells import figure, table

COMPARED: Final = (
    *("nothing (A/A)", "esper_otel", "esper_otel, recorder", "probing, a table in memory", "prometheus_client gauges"),
    *("OpenTelemetry gauges on the training thread", "NeMo Lens, spans", "W&B offline", "JSON lines (json.dumps)"),
)
A_STEP: Final = 40
STEP_S: Final = 0.004
STEPS: Final = 100
LONGEST_S: Final = 300.0


class Costs(msgspec.Struct):
    """CPU time of an event in µs by payload, on the training thread and in the process; or why there is none."""

    thread_us: dict[str, float] = {}
    process_us: dict[str, float] = {}
    unavailable: str = ""


def record(name: str, endpoint: str) -> Costs:
    """Costs of one way, in this process."""
    costs, way = Costs(), WAYS[name]()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            way.open(Path(temporary), endpoint)
        except UnavailableError as error:
            return Costs(unavailable=str(error))
        for make in PAYLOADS.values():
            payload = make()
            act, pool = way.recorder(payload), itertools.cycle(payload.pool)
            for _ in range(A_STEP):
                act(next(pool))
            way.settle()
            steps = []
            begin = time.process_time()
            for _ in range(STEPS):
                before = time.thread_time()
                for _ in range(A_STEP):
                    act(next(pool))
                steps.append((time.thread_time() - before) / A_STEP)
                time.sleep(STEP_S)
            way.settle()
            costs.process_us[payload.name] = (time.process_time() - begin) / STEPS / A_STEP * 1e6
            costs.thread_us[payload.name] = statistics.median(steps) * 1e6
        way.close()
    return costs


def measure(rounds: int, only: str) -> dict[str, list[Costs]]:
    """Costs by way, a set for each round."""
    found: dict[str, list[Costs]] = {name: [] for name in COMPARED if only in name}
    with sink() as endpoint:
        for number, name in itertools.product(range(rounds), found):
            command = [sys.executable, "-m", __spec__.name, "--record", name, endpoint]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                lines = process.communicate(timeout=LONGEST_S)[0].splitlines()
            failed = Costs(unavailable=f"ended with status {process.returncode}")
            found[name].append(failed if process.returncode else msgspec.json.decode(lines[-1], type=Costs))
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    return found


def row(name: str, costs: list[Costs]) -> list[str]:
    """Cells of a way: medians over the rounds."""
    if reasons := [each.unavailable for each in costs if each.unavailable]:
        return [name, f"cannot run here: {reasons[0]}", "", "", ""]
    cells = [[each.thread_us[payload] for each in costs] for payload in PAYLOADS]
    cells += [[each.process_us[payload] for each in costs] for payload in PAYLOADS]
    return [name, *[figure(statistics.median(cells[at])) for at in (0, 2, 1, 3)]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="ways whose name holds this")
    parser.add_argument("--record", nargs=2, metavar=("WAY", "ENDPOINT"), help="used by the benchmark itself")
    arguments = parser.parse_args()
    if arguments.record:
        costs: Any = msgspec.json.encode(record(*arguments.record)).decode()
        print(f"\n{costs}", flush=True)
        os._exit(0)  # some of the ways wait for minutes at exit
    machine = Machine()
    found = measure(arguments.rounds, arguments.only)
    head = ["CPU µs an event", "decision, training thread", "process", "policy update, training thread", "process"]
    print(f"{machine.said()}\n\n{table(head, [row(name, costs) for name, costs in found.items()])}")


if __name__ == "__main__":
    main()
