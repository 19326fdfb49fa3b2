"""Cost of one event in the relay: CPU time of a relay process over a finished log, by what it exports.

    python -m benchmarks.relay [--events 50000] [--repeats 3] [--run DIR] [--rate EVENTS_PER_S]

The log holds decisions with 40 values, each in an epoch of its environment, so that spans arise as in training;
``--run`` measures a recorded run instead. The relay replays it, or with ``--rate`` follows it while it grows, and sends
to a server on this machine that takes everything and keeps nothing. Its CPU time is that of the whole process (user and
system) less that of a relay over an empty log; time on other cores of this machine does not enter it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from benchmarks.emit import decision
from esper_otel.events import EpochCompleted, Event, RunEnded, TrainingStarted
from esper_otel.log.encode import Envelope, LineEncoder

MODES = {
    "metrics": {"OTEL_METRICS_EXPORTER": "prometheus"},
    "metrics, spans": {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_LOGS_EXPORTER": "none"},
    "metrics, logs": {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "none"},
    "metrics, spans, logs, OTLP metrics": {"OTEL_METRICS_EXPORTER": "prometheus,otlp"},
}
ENVS = 4
EPOCHS = 150
EVENT_NS = 80_000
GROW_EVERY_S = 0.02


class Discard(BaseHTTPRequestHandler):
    """Server that accepts every request and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # the name that http.server calls
        """Read the body and respond with success."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def write_log(directory: Path, events: int) -> int:
    """Write a finished run of ``events`` decisions; returns the number of lines."""
    directory.mkdir(parents=True)
    encoder = LineEncoder(directory.name, 0)
    started_ns = time.time_ns()
    lines = 0
    with (directory / "events.jsonl").open("wb") as log:

        def put(event: Event) -> None:
            nonlocal lines
            lines += 1
            line, _ = encoder.encode(event, Envelope(started_ns + lines * EVENT_NS, "default", None, None, lines))
            log.write(line)

        if events:
            put(TrainingStarted(n_envs=ENVS))
        template = decision()
        for number in range(events):
            epoch, env = divmod(number, ENVS)
            put(msgspec.structs.replace(template, env_id=env, inner_epoch=epoch % EPOCHS, episode_idx=epoch // EPOCHS))
            if number % 10 == 0:
                put(EpochCompleted(env_id=env, inner_epoch=epoch % EPOCHS, val_accuracy=50.0, val_loss=1.0))
        put(RunEnded(outcome="finished"))
    return lines


def grow(run: Path, source: Path, rate: float) -> None:
    """Append the lines of ``source`` to the log of ``run`` at ``rate`` lines a second, in steps of 20 ms."""
    lines = source.read_bytes().splitlines(keepends=True)
    started, written = time.monotonic(), 0
    with (run / "events.jsonl").open("ab", buffering=0) as log:
        while written < len(lines):
            due = min(int((time.monotonic() - started) * rate), len(lines))
            if due > written:
                log.write(b"".join(lines[written:due]))
                written = due
            time.sleep(GROW_EVERY_S)


def cpu_s(run: Path, endpoint: str, mode: str, rate: float | None = None) -> float:
    """CPU time in s of one relay over ``run``; with ``rate``, while it grows from nothing."""
    if rate is not None:
        growing = run.with_name("growing")
        shutil.rmtree(growing, ignore_errors=True)
        growing.mkdir()
        (growing / "events.jsonl").touch()
        writer = threading.Thread(target=grow, args=(growing, run / "events.jsonl", rate))
        writer.start()
        try:
            return _relay_cpu_s(growing, endpoint, mode, "--follow", "--idle-exit", "1")
        finally:
            writer.join()
    return _relay_cpu_s(run, endpoint, mode, "--from-start")


def _relay_cpu_s(run: Path, endpoint: str, mode: str, *how: str) -> float:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ESPER_OTEL_"))}
    env = kept | MODES[mode]
    if mode != "metrics":
        env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    arguments = [sys.executable, "-m", "esper_otel.relay", str(run), *how, "--linger", "0", "--drain", "600"]
    child = subprocess.Popen(arguments, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode != 0:
        raise SystemExit(f"the relay ended with status {child.returncode}: {errors.decode()}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", type=Path, help="a finished run to measure instead")
    parser.add_argument("--rate", type=float, help="events a second of a log that grows")
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Discard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as temporary:
        run, empty = Path(temporary) / "run", Path(temporary) / "empty"
        write_log(empty, 0)
        if arguments.run is None:
            lines = write_log(run, arguments.events)
        else:
            shutil.copytree(arguments.run, run, ignore=shutil.ignore_patterns("relay", ".writer*"))
            lines = sum(path.read_bytes().count(b"\n") for path in run.glob("events*.jsonl"))
        print(f"{lines} lines, {os.cpu_count()} cores, median of {arguments.repeats}")
        print("| exported | CPU µs an event | events a second on one core |\n|---|---|---|")
        for mode in MODES:
            rate = arguments.rate
            taken = [
                cpu_s(run, endpoint, mode, rate) - cpu_s(empty, endpoint, mode, rate) for _ in range(arguments.repeats)
            ]
            each_s = statistics.median(taken) / lines
            print(f"| {mode} | {each_s * 1e6:.1f} | {1 / each_s:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
