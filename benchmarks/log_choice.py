"""Bytes of the log events of a round by what ESPER_OTEL_LOGS leaves out; writes a table of docs/guides/scale.md.

    python -m benchmarks.log_choice [--rounds 200] [--print]

Repeats the rounds of the recordings of esper-lite under new event ids until there are enough, replays that log with
each setting, and counts the bytes of the protobuf messages that a receiver gets, before compression. The numbers depend
on nothing but the log.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from benchmarks.scaling import page
from benchmarks.scaling.capture import Capture
from benchmarks.scaling.processes import ROOT, environment
from esper_otel.relay.options import DEFAULT_EVERY

PAGE: Final = ROOT / "docs" / "guides" / "scale.md"
RECORDINGS: Final = ROOT.parent / "shared" / "data"
SETTINGS: Final = ("all", "sampled", "warnings")
ONCE: Final = "TRAINING_STARTED"
"""A second one would begin the count of rounds anew."""

ENDS_ROUND: Final = "BATCH_EPOCH_COMPLETED"
DEADLINE_S: Final = 900.0


class Sent(msgspec.Struct, frozen=True):
    """Log events of one replay: their number and the bytes of their requests."""

    records: int
    size: int


def repeated(recording: Path, to: Path, rounds: int) -> int:
    """Write the rounds of ``recording`` to ``to`` until there are ``rounds`` at least; returns their number."""
    lines = gzip.decompress(recording.read_bytes()).splitlines(keepends=True)
    heads = [json.loads(line) for line in lines]
    once: int = sum(head["event_type"] == ENDS_ROUND for head in heads)
    times = -(-rounds // once)
    with to.open("wb") as file:
        for time in range(times):
            for line, head in zip(lines, heads, strict=True):
                if time == 0 or head["event_type"] != ONCE:
                    file.write(line.replace(head["event_id"].encode(), f"{head['event_id']}-{time}".encode(), 1))
    return times * once


def sent(log: Path, setting: str, every: int) -> Sent:
    """Replay ``log`` with a setting.

    Raises:
        RuntimeError: the relay failed.
    """
    with Capture() as capture:
        env = environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=capture.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
            ESPER_OTEL_LOGS=setting,
            ESPER_OTEL_LOGS_EVERY=str(every),
        )
        command = [sys.executable, "-m", "esper_otel.relay", str(log), "--linger", "0", "--drain", str(DEADLINE_S)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        if done.returncode:
            raise RuntimeError(f"the relay on {log.name} ended with status {done.returncode}: {done.stderr}")
        bodies = [request.body for request in capture.requests if request.signal == "logs"]
    return Sent(sum(map(_records, bodies)), sum(map(len, bodies)))


def _records(body: bytes) -> int:
    request: Any = ExportLogsServiceRequest.FromString(body)
    return sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)


def row(recording: Path, rounds: int, every: int) -> tuple[str, ...]:
    """One recording: rounds, and bytes and log events a round by setting."""
    with tempfile.TemporaryDirectory(prefix="esper-logs-") as name:
        log = Path(name) / "events.jsonl"
        made = repeated(recording, log, rounds)
        found = [sent(log, setting, every) for setting in SETTINGS]
    cells = [f"{one.size / made:,.0f} ({one.records / made:,.2f})" for one in found]
    shares = [f"{one.size / found[0].size:.2%}" for one in found[1:]]
    return (recording.name.split(".jsonl")[0], f"{made:,}", *cells, *shares)


def main() -> int:
    """Measure, write and return the exit status."""
    parser = argparse.ArgumentParser(description="Measure what ESPER_OTEL_LOGS leaves of the log events of a round.")
    parser.add_argument("--rounds", type=int, default=2 * DEFAULT_EVERY, help="rounds of each log, at least")
    parser.add_argument("--every", type=int, default=DEFAULT_EVERY, help="rounds of which one is sent whole")
    parser.add_argument("--print", action="store_true", help="print the table, do not write the page")
    given = parser.parse_args()
    recordings = sorted(RECORDINGS.glob("*.jsonl.gz"))
    if not recordings:
        print(f"{RECORDINGS} holds no recordings", file=sys.stderr)
        return 1
    try:
        rows = [row(recording, given.rounds, given.every) for recording in recordings]
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    head = ("bytes (log events) a round", "rounds", *SETTINGS, *(f"{setting} of all" for setting in SETTINGS[1:]))
    table = page.table(head, rows)
    print(table)
    if not given.print:
        PAGE.write_text(page.put(PAGE.read_text(encoding="utf-8"), "logs", table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
