"""Real training processes, one for each rank, that emit an update ten times a second."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.tools import python_environment
from tests.waiting import wait_for

PROGRAM = """
import sys, time
import esper_otel
from esper_otel.events import TrainingUpdate

def step(number):
    esper_otel.emit(TrainingUpdate(model="Net", update=number, loss=1.0))
    time.sleep(0.1)

esper_otel.configure(
    telemetry_dir=sys.argv[1], run_id="run", relay=False, rank=int(sys.argv[2]), world_size=int(sys.argv[3])
)
number = 0
while True:
    number += 1
    step(number)
"""


@contextmanager
def training(directory: Path, ranks: int = 1) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """The processes of a run at ``directory/run``, each of which has written an update; killed at the end."""
    environment = python_environment()
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(directory), str(rank), str(ranks)], env=environment)
        for rank in range(ranks)
    ]
    try:
        logs = [directory / "run" / name for name in ("events.jsonl", "events.rank1.jsonl", "events.rank2.jsonl")]
        for log in logs[:ranks]:
            wait_for(partial(_has_update, log), f"an update in {log.name}")
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _has_update(log: Path) -> bool:
    return log.exists() and b"TRAINING_UPDATE" in log.read_bytes()


def renoted(lock: Path, **changed: Any) -> None:
    """Change the note in the lock's file as another machine, or another process, would have written it."""
    note = json.loads(lock.read_bytes()) | changed
    with lock.open("r+b") as file:
        file.write(json.dumps(note).encode().ljust(255) + b"\n")
