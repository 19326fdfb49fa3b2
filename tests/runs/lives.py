"""Runs that appear, grow, end, move and vanish: files as a trainer, a cleaner or a person leaves them."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esper_otel.log import manifest

START_S = 1_770_000_000
FRESH_S = 60.0


def line(number: int, event_type: str, rank: int = 0, **data: Any) -> bytes:
    at = datetime.fromtimestamp(START_S + number, UTC).isoformat()
    head = {"event_id": f"e{number}-{rank}", "event_type": event_type, "timestamp": at, "run_id": "r", "rank": rank}
    return json.dumps({**head, "seq": number, "schema_version": 1, "data": data}).encode() + b"\n"


def started(number: int = 0, **settings: Any) -> bytes:
    return line(number, "TRAINING_STARTED", **settings)


def batch(number: int, reward: float, accuracy: float) -> bytes:
    return line(number, "TOLARIA_BATCH_COMPLETED", batch_idx=number, avg_reward=reward, avg_accuracy=accuracy)


def update(number: int, loss: float | str, rank: int = 0) -> bytes:
    return line(number, "TOLARIA_TRAINING_UPDATE", rank, model="Net", update=number, loss=loss)


def ended(number: int, outcome: str = "finished", rank: int = 0) -> bytes:
    return line(number, "RUN_ENDED", rank, outcome=outcome)


def log_of(run: Path, rank: int = 0) -> Path:
    return run / ("events.jsonl" if rank == 0 else f"events.rank{rank}.jsonl")


def append(run: Path, *lines: bytes, rank: int = 0) -> Path:
    run.mkdir(exist_ok=True, parents=True)
    with log_of(run, rank).open("ab") as log:
        log.write(b"".join(lines))
    return run


def told(run: Path, **fields: Any) -> None:
    manifest.update(run, **fields)


class Past:
    """Gives directories and logs that changed a moment ago a time of their own in the past: that was long ago."""

    def __init__(self) -> None:
        self._tick = time.time_ns() - 3_600_000_000_000

    def age(self, directory: Path) -> None:
        for run in (path for path in directory.iterdir() if path.is_dir() and not path.is_symlink()):
            for path in (*run.glob("events*"), run):
                if time.time() - path.stat().st_mtime < FRESH_S:
                    self._tick += 1_000_000
                    os.utime(path, ns=(self._tick, self._tick))
        if time.time() - directory.stat().st_mtime < FRESH_S:
            self._tick += 1_000_000
            os.utime(directory, ns=(self._tick, self._tick))
