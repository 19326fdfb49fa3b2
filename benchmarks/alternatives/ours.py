"""This project: emit() with the relay as a child process, which is scraped and sends OTLP on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import esper_otel
from benchmarks.alternatives.payloads import Numbers, Payload
from benchmarks.alternatives.way import Record, UnavailableError

RELAY_STARTS_S = 60.0
RELAY_ENDS_S = 60.0
SETTLES_S = 5.0
LOOK_EVERY_S = 0.05


class Ours:
    """emit() of an event built from the numbers, with ``is_built`` of one built before; or a recorder."""

    def __init__(self, *, is_built: bool = False, is_recorder: bool = False) -> None:
        """Nothing is opened."""
        self._is_built = is_built
        self._is_recorder = is_recorder
        self._telemetry: esper_otel.Telemetry | None = None
        self._scraper: subprocess.Popen[bytes] | None = None
        self.metrics_url = ""

    def open(self, directory: Path, endpoint: str) -> None:
        """Open a run and wait until its relay serves metrics."""
        os.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
            "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        }
        self._telemetry = esper_otel.configure(telemetry_dir=directory, linger_s=0.0, relay=True)
        self.metrics_url = _metrics_url(self._telemetry.run_dir)
        self._scraper = scrape(self.metrics_url)

    def recorder(self, payload: Payload) -> Record:
        """Build and emit, or hand the numbers to a recorder."""
        emit, build = esper_otel.emit, payload.build
        if self._is_recorder:
            return payload.calls(esper_otel.recorder(type(build(payload.pool[0]))))
        if not self._is_built:
            return lambda numbers: emit(build(numbers))
        ready = {numbers: build(numbers) for numbers in payload.pool}

        def record(numbers: Numbers) -> None:
            emit(ready[numbers])

        return record

    def settle(self) -> None:
        """Wait until all is written and the relay has caught up, so that it is idle in a block without recording."""
        assert self._telemetry is not None
        deadline = time.monotonic() + SETTLES_S
        while time.monotonic() < deadline:
            counters = self._telemetry.counters
            before = _ticks(self._telemetry.relay_pid)
            time.sleep(LOOK_EVERY_S)
            if counters["emitted"] <= counters["written"] and _ticks(self._telemetry.relay_pid) <= before + 1:
                break

    def lost(self) -> int:
        """Events that the run counted as lost."""
        assert self._telemetry is not None
        return sum(count for name, count in self._telemetry.counters.items() if name.startswith("dropped"))

    def close(self) -> None:
        """End the run and wait for its relay to end, so that it does not work during the next measurement."""
        if self._scraper is not None:
            end(self._scraper)
        relay = self._telemetry.relay_pid if self._telemetry is not None else None
        esper_otel.shutdown()
        deadline = time.monotonic() + RELAY_ENDS_S
        while relay is not None and not _has_ended(relay) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)


def scrape(url: str) -> subprocess.Popen[bytes]:
    """A process that reads ``url`` every 5 s, as a Prometheus would."""
    return subprocess.Popen([sys.executable, "-m", "benchmarks.alternatives.scraper", url])


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here."""
    process.terminate()
    process.wait()


def _has_ended(pid: int) -> bool:
    """Return True if a process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _ticks(pid: int | None) -> int:
    """CPU time that a process has used, in ticks of the system's clock."""
    if pid is None:
        return 0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _metrics_url(run_dir: Path) -> str:
    deadline = time.monotonic() + RELAY_STARTS_S
    while time.monotonic() < deadline:
        relay = json.loads((run_dir / "run.json").read_text()).get("relay") or {}
        if url := relay.get("prometheus_url"):
            return str(url)
        time.sleep(0.05)
    raise UnavailableError(f"the relay did not serve within {RELAY_STARTS_S:g} s, see {run_dir}/relay/relay.log")
