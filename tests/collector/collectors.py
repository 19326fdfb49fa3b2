"""Real collectors with the shipped configuration files, for tests: ports of the system, data in a directory."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.tools import ROOT, tool
from tests.waiting import PATIENCE_S, wait_for

CONFIGURATIONS = ROOT / "deploy" / "collector"
PORTS = ("GRPC", "HTTP", "HEALTH", "OWN_METRICS", "PROMETHEUS")


class Collector:
    """One collector; it may be killed and started again, on the same ports and the same queue.

    Attributes:
        ports: by the name in ``COLLECTOR_<name>_PORT``.
        queue: directory of its queues.
    """

    def __init__(
        self, kind: str, directory: Path, overlay: dict[str, Any] | None = None, *, more: str = "", **variables: str
    ) -> None:
        """A collector with ``deploy/collector/<kind>.yaml``; it is not started yet.

        Merged over it: ``<kind>-<more>.yaml`` if ``more`` is named, and ``overlay``.
        """
        self._program = tool("otelcol-esper")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._files = [CONFIGURATIONS / f"{kind}.yaml"]
        if more:
            self._files.append(CONFIGURATIONS / f"{kind}-{more}.yaml")
        if overlay:
            self._files.append(directory / "overlay.yaml")
            self._files[-1].write_text(yaml.safe_dump(overlay))
        self._variables = {f"COLLECTOR_{name}_PORT": str(port) for name, port in self.ports.items()}
        self.queue = directory / "queue"
        self._variables |= {"COLLECTOR_QUEUE_DIR": str(self.queue), **variables}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start, and wait until it is healthy."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Kill it if it runs; say its log with a failure."""
        self.kill()
        if error is not None:
            complaints = [line for line in self.said().splitlines() if "\tinfo\t" not in line]
            error.add_note("\n".join([f"{self._directory.name} says:", *complaints[-10:]]))

    def start(self) -> None:
        """Start it, and wait until it is healthy."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "COLLECTOR_"))}
        arguments = [f"--config={file}" for file in self._files]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *arguments], env=kept | self._variables, stdout=log, stderr=log
            )
        wait_for(self._is_healthy, f"the start of {self._directory.name}")

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._end("kill")

    def terminate(self) -> None:
        """Let it end in order (SIGTERM)."""
        self._end("terminate")

    def _end(self, how: str) -> None:
        if self._process is not None:
            getattr(self._process, how)()
            self._process.wait(timeout=PATIENCE_S)
            self._process = None

    def said(self) -> str:
        """Its log so far."""
        return (self._directory / "log").read_text()

    def url(self, port: str, scheme: str = "http") -> str:
        """Address of one of its ports."""
        return f"{scheme}://127.0.0.1:{self.ports[port]}"

    def _is_healthy(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the collector ended by itself: {self.said()[-3000:]}")
        try:
            with urllib.request.urlopen(self.url("HEALTH"), timeout=PATIENCE_S) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def telemetry(self) -> Telemetry:
        """What it says of itself now."""
        with urllib.request.urlopen(self.url("OWN_METRICS") + "/metrics", timeout=PATIENCE_S) as answer:
            return Telemetry(answer.read().decode())


class Telemetry(msgspec.Struct, frozen=True):
    """The exposition of a collector's own telemetry."""

    text: str

    @property
    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """Name, labels and value of all samples."""
        return [
            # The parser gives counters the suffix that the collector does not.
            (sample.name.removesuffix("_total"), dict(sample.labels), sample.value)
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        ]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples ``name`` that have ``labels``; 0 where there is none."""
        return sum(value for found, given, value in self.samples if found == name and labels.items() <= given.items())


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
