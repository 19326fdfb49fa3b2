"""Time of ``diagnose`` and ``compare`` on a million events: ``python -m benchmarks.diagnosing.times [--events N]``.

Two logs: esper-lite's recordings again and again (its dialect is the slowest to read), and a plain loop's, of which
almost every event is an update. Each is read raw and from the Parquet files of ``esper-otel compact``. A time is that
of the whole command as a shell sees it, the start of Python with it, the best of some, beside the processor time,
which other programs on the machine hardly change; ``compare`` reads the run twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final

from benchmarks.diagnosing.judge import written_into
from benchmarks.sql_views import generate

BEGIN: Final = "<!-- times: written by benchmarks/diagnosing/times.py -->"
END: Final = "<!-- end of times -->"
LIMITS_S: Final = {"Parquet": 2.0, "raw": 10.0}

EVERY: Final = 60
"""Updates between two reports of the sensors, as a loop of short steps has them."""

PROGRAM: Final = Path(sys.executable).with_name("esper-otel")

_START: Final = datetime(2026, 3, 1, tzinfo=UTC)
_LAYERS: Final = ("0", "2", "4")


def generate_loop(log: Path, events: int) -> None:
    """Write a plain loop's log of ``events`` lines."""
    draw = random.Random(1)
    number = update = 0
    with log.open("w", encoding="utf-8") as file:
        while number < events:
            update += 1
            for event_type, data in chain([_update(draw, update)], _reports(draw, update)):
                number += 1
                when = (_START + timedelta(milliseconds=20 * update)).isoformat()
                line: dict[str, Any] = {
                    "event_id": f"made-0-{number}",
                    "event_type": event_type,
                    "timestamp": when,
                    "data": data,
                }
                line |= {"group_id": "default", "severity": "debug", "run_id": "made", "rank": 0, "seq": number}
                file.write(json.dumps(line | {"schema_version": 1}, separators=(",", ":")) + "\n")


def _update(draw: random.Random, update: int) -> tuple[str, dict[str, Any]]:
    norm = draw.uniform(0.5, 1.5)
    norms = {"pre_clip_grad_norm": norm, "grad_norm": min(norm, 1.0), "grad_norm_excess": norm / 1.5}
    ours: dict[str, Any] = {
        "model": "Net",
        "optimizer": "Adam",
        "update": update,
        "loss": draw.uniform(0.9, 1.1),
        "lr": 1e-3,
    }
    return "TOLARIA_TRAINING_UPDATE", ours | norms


def _reports(draw: random.Random, update: int) -> list[tuple[str, dict[str, Any]]]:
    if update % EVERY:
        return []
    passes = {name: [draw.uniform(1e-3, 2e-3) for _ in range(EVERY)] for name in ("backward", "optimizer", "data_wait")}
    by_layer = {name: draw.uniform(0.1, 0.3) for name in _LAYERS}
    gradients: dict[str, Any] = {
        "device": "cpu",
        "model": "Net",
        "step": update,
        "norm": 0.4,
        "norm_per_layer": by_layer,
    }
    machine: dict[str, Any] = {
        "device": "cpu",
        "batch_idx": update,
        "process_memory_bytes": 600_000_000 + draw.randrange(1_000_000),
    }
    return [
        ("TOLARIA_PHASE_DURATIONS", {"device": "cpu", "step": update, "durations_s": passes}),
        ("TOLARIA_GRADIENT_STATS", gradients | {"norm_spread": 2.0, "zero_fraction_per_layer": by_layer}),
        ("TOLARIA_THROUGHPUT", {"samples": 64 * EVERY, "step_time_ms": 20.0, "dataloader_wait_ms": 1.5}),
        ("TOLARIA_INFRASTRUCTURE_SNAPSHOT", machine),
    ]


def measured(*command: str, repeats: int) -> tuple[float, float]:
    """Best time of a command and best processor time of it and its helpers, s; it may say that the run is ill."""
    times, works = [], []
    for _ in range(repeats):
        before, began = _work_s(), time.perf_counter()
        done = subprocess.run([PROGRAM, *command], capture_output=True, check=False)
        times.append(time.perf_counter() - began)
        works.append(_work_s() - before)
        if done.returncode not in {0, 3, 4}:
            raise RuntimeError(done.stderr.decode())
    return min(times), min(works)


def _work_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def table(directory: Path, events: int, repeats: int) -> str:
    """Times of both commands on both logs, as Markdown."""
    rows = ["| log | MiB | command | from | time, s | processor time, s | limit, s |", "|---|---|---|---|---|---|---|"]
    for name, make in (("esper-lite", lambda path: generate(path, events, "old")), ("plain loop", None)):
        # elsewhere than beside the log, where it would be read instead of it
        log, parquet = directory / f"{name.split()[0]}.jsonl", directory / "compacted" / name.split()[0]
        if not log.exists():
            (make or (lambda path: generate_loop(path, events)))(log)
        parquet.parent.mkdir(exist_ok=True)
        measured("compact", str(log), "-o", str(parquet), repeats=1)
        for source, path in (("Parquet", parquet), ("raw", log)):
            for command, runs in (("diagnose", [path]), ("compare", [path, path])):
                seconds, work = measured(command, *map(str, runs), repeats=repeats)
                size = log.stat().st_size / 2**20
                figures = f"{seconds:.2f} | {work:.2f} | {LIMITS_S[source]:g}"
                rows.append(f"| {name} | {size:.0f} | {command} | {source} | {figures} |")
    busy = os.getloadavg()[0]
    rows += ["", f"{events:,} events a log, best of {repeats}; {os.cpu_count()} CPUs, load at the end {busy:.1f}."]
    return "\n".join(rows)


def main() -> None:
    """Generate, measure, print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="directory of the logs, kept; default: a temporary one")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program's modules are not compiled at every start
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        text = table(directory, options.events, options.repeats)
    if options.write is None:
        print(text)
    else:
        written_into(options.write, BEGIN, text, END)


if __name__ == "__main__":
    main()
