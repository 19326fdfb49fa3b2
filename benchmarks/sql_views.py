"""Time and peak memory of the SQL views and of compaction, against DuckDB reading the raw JSON.

Generates a log from the recordings of esper-lite (new event ids and times, fractions changed by 0.1 %), then runs
each measurement in a process of its own::

    python -m benchmarks.sql_views [--events 5000000] [--directory DIR] [--memory-limit 1GB] [--raw-views 6]

For every view that the log has rows for: reading all its columns from the Parquet files of ``esper-otel compact``.
For some of them also: through ``connect()`` on the log itself, and DuckDB's ``read_json_auto`` on the log, as a person
without the views would ask. Peak memory is the largest resident set of the process, its helpers added. The ratio is
raw JSON over view, both measured in this run. ``--names new`` writes the log as our own trainer would; it is then not
compared with raw JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.sql import VIEWS, connect
from esper_otel.sql.compact import compact
from esper_otel.sql.connect import MEMORY_LIMIT

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"

VARIANTS: Final = 32
"""Versions of the recordings with other numbers: more than stand in one row group, so that repetition helps nobody."""

FRACTION: Final = re.compile(rb"(?<=[:,\[ ])-?\d+\.\d+(?:[eE][-+]?\d+)?")

RAW: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "raw_events": ("true", ()),
    "tamiyo_updates": (
        "event_type = 'PPO_UPDATE_COMPLETED'",
        ("policy_loss", "value_loss", "entropy", "kl_divergence", "clip_fraction", "explained_variance", "grad_norm"),
    ),
    "tolaria_epochs": ("event_type = 'EPOCH_COMPLETED'", ("env_id", "inner_epoch", "val_accuracy", "val_loss")),
    "decisions": (
        "event_type = 'ANALYTICS_SNAPSHOT' AND data['kind']->>'$' = 'last_action'",
        ("env_id", "inner_epoch", "total_reward", "value_estimate", "action_confidence"),
    ),
    "seed_lifecycle": (
        "event_type IN ('SEED_GERMINATED', 'SEED_STAGE_CHANGED', 'SEED_FOSSILIZED', 'SEED_PRUNED')",
        ("env_id", "alpha", "accuracy_delta", "improvement"),
    ),
    "episode_outcomes": ("event_type = 'EPISODE_OUTCOME'", ("env_id", "final_accuracy", "episode_reward")),
}
"""The same rows, asked from the lines as ``read_json_auto`` types them: condition and some numbers of the payload."""

LIVE: Final = ("tamiyo_updates", "decisions")
"""Views that are also measured on the log itself."""


def generate(log: Path, events: int, names: str) -> None:
    """Write a log of ``events`` lines: the recordings again and again, each round a day later with ids of its own."""
    read = _our_lines if names == "new" else _lines
    rounds = _rounds([read(path) for path in sorted(DATA.glob("*.jsonl.gz"))])
    with log.open("wb") as file:
        while lines := list(islice(rounds, min(events, 10_000))):
            file.write(b"".join(lines))
            events -= len(lines)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a recording as our reader repairs them: bare NaN tokens stop read_json_auto."""
    found = []
    with LogReader(path) as reader:
        while batch := reader.read():
            found += [msgspec.structs.asdict(record) for record in batch]
    return [
        {
            "event_id": line["event_id"],
            "event_type": line["event_type"],
            "timestamp": datetime.fromtimestamp(line["timestamp_ns"] / 1e9),
            "seed_id": line["seed_id"],
            "slot_id": line["slot_id"],
            "epoch": line["epoch"],
            "group_id": line["group_id"],
            "message": line["message"],
            "data": msgspec.Raw(line["data"]),
            "severity": line["severity"],
        }
        for line in found
    ]


def _our_lines(path: Path) -> list[dict[str, Any]]:
    """The events of a recording as our own writer spells them, without their numbers in the series."""
    found = []
    with LogReader(path) as reader:
        while batch := reader.read():
            for record in batch:
                assert isinstance(record, Record)
                for event in adapt(record).events:
                    envelope = Envelope(record.timestamp_ns, record.group_id, None, None, 1)
                    line = json.loads(LineEncoder("run", 0).encode(event, envelope)[0])
                    del line["seq"]
                    found.append(
                        line
                        | {"event_id": f"{record.event_id}-{event.event_type}"}
                        | {"timestamp": datetime.fromisoformat(line["timestamp"]).replace(tzinfo=None)}
                    )
    return found


def _varied(lines: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The lines with every fraction in their payloads changed by up to 0.1 %."""
    changes = random.Random(seed)

    def change(match: re.Match[bytes]) -> bytes:
        return repr(float(match[0]) * changes.uniform(0.999, 1.001)).encode()

    return [line | {"data": msgspec.Raw(FRACTION.sub(change, _payload(line)))} for line in lines]


def _payload(line: dict[str, Any]) -> bytes:
    data = line["data"]
    return bytes(data) if isinstance(data, msgspec.Raw) else msgspec.json.encode(data)


def _rounds(recordings: list[list[dict[str, Any]]]) -> Iterator[bytes]:
    variants = [[_varied(lines, seed) for lines in recordings] for seed in range(VARIANTS)]
    number = 0
    while True:
        for lines in variants[number // len(recordings) % VARIANTS]:
            number += 1
            for line in lines:
                when = (line["timestamp"] + timedelta(seconds=60 * number)).isoformat() + "+00:00"
                again = line | {"event_id": f"{line['event_id']}-{number}", "timestamp": when}
                yield msgspec.json.encode(again) + b"\n"


def measure_compaction(log: Path, parquet: Path, memory_limit: str) -> dict[str, Any]:
    """Compact; returns lines and bytes."""
    done = compact(log, parquet, memory_limit)
    return {"lines": done.lines, "size_bytes": done.size_bytes}


def measure_view(run: Path, view: str, memory_limit: str) -> dict[str, Any]:
    """Read every column of a view, streaming."""
    with connect(run, memory_limit, views=[view]) as connection:
        return {"rows": _read_all(connection, f"SELECT * FROM {view}")}


def measure_raw(log: Path, view: str, memory_limit: str) -> dict[str, Any]:
    """Read the same rows from the raw JSON."""
    connection = duckdb.connect(config={"memory_limit": memory_limit, "threads": "4"})
    connection.execute("SET enable_progress_bar = false")
    condition, fields = RAW[view]
    numbers = "".join(f", (data['{field}']->>'$')::DOUBLE AS {field}" for field in fields)
    source = f"read_json_auto('{log}', format='newline_delimited')"
    query = f"SELECT event_id, timestamp, group_id, {'data' if not fields else 'event_type'}{numbers} FROM {source}"
    return {"rows": _read_all(connection, f"{query} WHERE {condition}")}


def measure_raw_to_parquet(log: Path, target: Path, memory_limit: str) -> dict[str, Any]:
    """The conversion to Parquet that DuckDB does by itself."""
    connection = duckdb.connect(config={"memory_limit": memory_limit, "threads": "4"})
    source = f"read_json_auto('{log}', format='newline_delimited')"
    connection.execute(f"COPY (FROM {source}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 32768)")
    return {"size_bytes": target.stat().st_size}


def _read_all(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """Count the rows of ``query``; the hash reads every column of every row without making Python objects."""
    return int(connection.execute(f"SELECT count(*), bit_xor(hash(r)) FROM ({query}) r").fetchall()[0][0])


MEASUREMENTS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "compact": measure_compaction,
    "view": measure_view,
    "raw": measure_raw,
    "raw_to_parquet": measure_raw_to_parquet,
}


def _measured(kind: str, *arguments: str) -> dict[str, Any]:
    """Run one measurement in a process of its own; adds the peak of its memory and that of its helpers together."""
    command = [sys.executable, "-m", "benchmarks.sql_views", "--measure", kind, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        peak = 0
        while child.poll() is None:
            peak = max(peak, _resident_kib(child.pid))
            time.sleep(0.02)
        output, errors = child.communicate()
    if child.returncode:
        said = [line for line in errors.splitlines() if "Error" in line] or [f"exit status {child.returncode}"]
        return {"error": said[-1]}
    found = dict(json.loads(output))
    return found | {"all_mib": max(peak / 1024, found["own_mib"])}


def _resident_kib(session: int) -> int:
    """Resident memory of every process of a session now."""
    total = 0
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(directory.name)) == session:
                total += int((directory / "statm").read_text().split()[1]) * resource.getpagesize() // 1024
        except (OSError, IndexError):
            continue  # it ended a moment ago
    return total


def _measure_here(kind: str, arguments: list[str]) -> None:
    *first, last = arguments
    began = time.perf_counter()
    found = MEASUREMENTS[kind](*(Path(each) if "/" in each else each for each in first), last)
    found["seconds"] = time.perf_counter() - began
    found["own_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def _shown(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"failed: {found['error'][:90]}"
    return f"{found['seconds']:8.2f} s {found['all_mib']:6.0f} MiB"


def _compare(log: Path, parquet: Path, memory_limit: str, raw_views: int) -> None:
    compared = list(RAW)[:raw_views]
    print(f"{'view':<34} {'rows':>10}  {'Parquet':>22}  {'raw JSON':>22}  {'ratio':>7}  the log through connect()")
    for view in [*compared, *(name for name in VIEWS if name not in compared)]:
        found = _measured("view", str(parquet), view, memory_limit)
        if not found.get("rows", 1):
            continue
        row = f"{view:<34} {found.get('rows', 0):>10,}  {_shown(found):>22}"
        if view in compared:
            raw = _measured("raw", str(log), view, memory_limit)
            ratio = f"{raw['seconds'] / found['seconds']:6.1f}x" if "seconds" in raw else "-"
            row += f"  {_shown(raw):>22}  {ratio:>7}"
        if view in compared and view in LIVE:
            row += f"  {_shown(_measured('view', str(log), view, memory_limit))}"
        print(row, flush=True)


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--directory", type=Path, default=None, help="directory to write to; default: a temporary one")
    parser.add_argument("--memory-limit", default=MEMORY_LIMIT)
    parser.add_argument("--names", choices=["old", "new"], default="old", help="esper-lite's lines or ours")
    parser.add_argument("--raw-views", type=int, default=len(RAW), help="views that are compared with raw JSON")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        _measure_here(options.measure[0], options.measure[1:])
        return
    directory = options.directory or Path(tempfile.mkdtemp(prefix="esper-otel-benchmark-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        log, parquet = directory / "big.jsonl", directory / "compacted"
        generate(log, options.events, options.names)
        print(f"{options.events:,} events, {log.stat().st_size / 2**30:.2f} GiB, DuckDB limit {options.memory_limit}")
        done = _measured("compact", str(log), str(parquet), options.memory_limit)
        print(f"compact: {_shown(done)}, {done}", flush=True)
        if options.names == "new":
            return
        alone = _measured("raw_to_parquet", str(log), str(directory / "raw.parquet"), options.memory_limit)
        print(f"read_json_auto to Parquet: {_shown(alone)}, {alone}", flush=True)
        _compare(log, parquet, options.memory_limit, options.raw_views)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
