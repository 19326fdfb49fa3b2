"""Time of ``esper-otel runs`` over many runs: without an index, with it, and after one run grew.

    python -m benchmarks.listing [--runs 20000] [--directory DIR]

Makes runs as a trainer left them an hour ago, with a log of a few lines and a ``run.json``, in a directory that it
removes. Each list is a process of its own, its start included; what counts is the ratio, and the processor time beside
the time by the clock where the machine has other things to do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from esper_otel.log import manifest
from esper_otel.log.listing import STEP_S
from esper_otel.runs.index import NAME

LONG_AGO_S: Final = 3600.0
"""Age of the runs: one that has just ended may have more to say, and its log is looked at."""

START_S: Final = 1_770_000_000
REPEATS: Final = 3


def made(directory: Path, count: int) -> None:
    """Write ``count`` finished runs."""
    for number in range(count):
        run = directory / f"run-{number:06d}"
        run.mkdir()
        (run / "events.jsonl").write_text("".join(_lines(number)))
        told = {
            "run_id": run.name,
            "status": "finished",
            "world_size": 1,
            "tags": [f"sweep-{number % 7}"],
            "host": "node",
        }
        (run / "run.json").write_text(json.dumps(told))
        for path in (run / "events.jsonl", run):
            os.utime(path, (time.time() - LONG_AGO_S,) * 2)


def _lines(number: int) -> list[str]:
    return [
        _line(number, 0, "TRAINING_STARTED", task="cifar", seed=number % 10, lr=1e-4 * (number % 5 + 1), n_envs=4),
        *(
            _line(number, n, "TOLARIA_BATCH_COMPLETED", batch_idx=n, avg_reward=n - number % 9, avg_accuracy=50.0 + n)
            for n in range(1, 4)
        ),
        _line(number, 4, "RUN_ENDED", outcome="finished", rounds=3),
    ]


def _line(run: int, second: int, event_type: str, **data: object) -> str:
    at = datetime.fromtimestamp(START_S + 60 * run + second, UTC).isoformat()
    head = {"event_id": f"{run}-{second}", "event_type": event_type, "timestamp": at, "run_id": f"run-{run:06d}"}
    return json.dumps({**head, "rank": 0, "seq": second + 1, "schema_version": 1, "data": data}) + "\n"


def timed(directory: Path, *options: str) -> tuple[float, float]:
    """Time by the clock and of the processor, s, of one list of all runs."""
    command = [str(Path(sys.executable).with_name("esper-otel")), "runs", str(directory), *options]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(directory: Path, count: int) -> dict[str, tuple[float, float]]:
    """Times by name."""
    made(directory, count)
    time.sleep(STEP_S)  # directories that changed a moment ago are looked at once more
    found = {"without an index": timed(directory)}
    time.sleep(STEP_S)  # the index is in the directory too
    found["with it, after a run was begun or ended"] = timed(directory)
    found["with it"] = min(timed(directory) for _ in range(REPEATS))
    found["with it, sorted by best reward"] = min(timed(directory, "--sort", "-best_reward") for _ in range(REPEATS))
    found["with it, best reward above 1, sorted by lr"] = min(
        timed(directory, "--where", "best_reward > 1", "--sort", "-lr") for _ in range(REPEATS)
    )
    manifest.update(directory / "run-000000", status="running")
    with (directory / "run-000000" / "events.jsonl").open("a") as log:
        log.write(_line(0, 5, "TOLARIA_BATCH_COMPLETED", batch_idx=4, avg_reward=0.0, avg_accuracy=1.0))
    found["after one run went on"] = timed(directory)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program's modules are not compiled at every start
    with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        found = measure(Path(scratch), options.runs)
        size = (Path(scratch) / NAME).stat().st_size
    first = found["without an index"][0]
    print(f"{options.runs} runs, index {size / 2**20:.1f} MiB, load {os.getloadavg()[0]:.1f}")
    for name, (took, cpu) in found.items():
        print(f"{name:45} {took:8.2f} s {cpu:8.2f} s of a processor, 1/{first / took:.0f} of the time")


if __name__ == "__main__":
    main()
