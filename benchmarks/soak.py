"""An hour of training at 1,000 events a second while the OTLP endpoint comes and goes.

    python -m benchmarks.soak [--minutes 60] [--rate 1000] [--out DIR]

Every ten seconds memory, lag, CPU and losses are sampled (``soak.csv``, ``soak.html``). At the end every sequence
number that the trainer wrote must have reached the endpoint as a log event; the exit status is 1 when one is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.soaking.endpoint import FlappingEndpoint
from benchmarks.soaking.figures import cpu_s, resident_mb, scraped, write_csv, write_plots

SAMPLE_S = 10.0
LOST = (
    "esper_log_lost_events_total",
    "esper_relay_refused_total",
    "esper_telemetry_rejected_records_total",
)


def sample(minute: float, trainer: int, relay: int, url: str, cpu_before_s: float) -> dict[str, Any]:
    """One row."""
    found = scraped(url)
    return {
        "minute": round(minute, 2),
        "trainer_mb": round(resident_mb(trainer), 1),
        "relay_mb": round(resident_mb(relay), 1),
        "relay_cpu": round((cpu_s(relay) - cpu_before_s) / SAMPLE_S * 100, 1),
        "lag_s": round(found.get("esper_relay_lag_seconds", 0.0), 3),
        "undelivered_mb": round(found.get("esper_relay_undelivered_bytes", 0.0) / 1e6, 3),
        "lost": sum(found.get(name, 0.0) for name in LOST),
        "records": found.get("esper_telemetry_records_total", 0.0),
    }


def wait_for_run(directory: Path) -> dict[str, Any]:
    """The manifest of the run, once its relay serves."""
    while True:
        path = directory / "latest" / "run.json"
        content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        if content.get("relay", {}).get("prometheus_url"):
            return content
        time.sleep(0.2)


def main() -> int:
    """Run it and print the verdict; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    endpoint = FlappingEndpoint(int(options.minutes * 60 * options.rate * 1.1) + 1_000)
    with tempfile.TemporaryDirectory(dir=options.out) as telemetry:
        arguments = ["--minutes", str(options.minutes), "--rate", str(options.rate), "--telemetry-dir", telemetry]
        trainer = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soaking.training", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint.url},
        )
        run = wait_for_run(Path(telemetry))
        rows = _watch(trainer, run["relay"], options.out)
        return _verdict(trainer, run["relay"]["pid"], endpoint, rows, options.out)


def _watch(trainer: subprocess.Popen[str], relay: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    started = time.monotonic()
    while trainer.poll() is None:
        cpu_before_s = cpu_s(relay["pid"])
        time.sleep(SAMPLE_S)
        minute = (time.monotonic() - started) / 60
        rows.append(sample(minute, trainer.pid, relay["pid"], relay["prometheus_url"], cpu_before_s))
        write_csv(out / "soak.csv", rows)
    return rows


def _verdict(
    trainer: subprocess.Popen[str], relay: int, endpoint: FlappingEndpoint, rows: list[dict[str, Any]], out: Path
) -> int:
    assert trainer.stdout is not None
    counters = json.loads(trainer.stdout.read())
    endpoint.is_steady = True
    ended = time.monotonic()
    while Path(f"/proc/{relay}").exists() and time.monotonic() - ended < 120:
        time.sleep(0.5)
    write_plots(out / "soak.html", rows[:-2] if len(rows) > 12 else rows)
    arrived = sum(endpoint.seen)
    missing = counters["written"] - arrived
    steady = rows[len(rows) // 6 : -2] or rows
    growth = {name: steady[-1][name] - steady[0][name] for name in ("trainer_mb", "relay_mb")}
    print(f"trainer: {counters}; log events arrived: {arrived}, again after a failed answer: {endpoint.repeated}")
    print(f"requests {endpoint.requests}; drained {time.monotonic() - ended:.1f} s after the end")
    print(f"memory after a sixth of the time and at its end, difference in MB: {growth}")
    print(f"lag: largest {max(row['lag_s'] for row in rows)} s; lost {rows[-1]['lost']}")
    print("missing:", missing)
    return int(missing != 0 or rows[-1]["lost"] != 0)


if __name__ == "__main__":
    sys.exit(main())
