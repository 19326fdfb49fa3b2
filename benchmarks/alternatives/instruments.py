"""OpenTelemetry's SDK and the Prometheus client inside the training process."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from benchmarks.alternatives.ours import end, scrape
from benchmarks.alternatives.payloads import Numbers, Payload
from benchmarks.alternatives.way import Record

ATTRIBUTES: dict[str, str | int] = {"env_id": 3, "group_id": "default"}
EXPORT_EVERY_MS = 5_000
SETTLES_S = 2.0


class Instruments:
    """A gauge of OpenTelemetry's SDK for each number, set on the training thread; exported every 5 s."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Start the SDK."""
        exporter = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics")
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=EXPORT_EVERY_MS)
        self._provider = MeterProvider([reader])

    def recorder(self, payload: Payload) -> Record:
        """Set every gauge."""
        meter = self._provider.get_meter("benchmark")
        gauges = [meter.create_gauge(f"{payload.name.replace(' ', '_')}.{name}") for name in payload.names]

        def record(numbers: Numbers) -> None:
            for gauge, number in zip(gauges, numbers, strict=True):
                gauge.set(number, ATTRIBUTES)

        return record

    def settle(self) -> None:
        """Nothing waits."""

    def lost(self) -> int:
        """None."""
        return 0

    def close(self) -> None:
        """End the SDK."""
        self._provider.shutdown()


class QueuedInstruments(Instruments):
    """The same gauges, set by a background thread that takes the events from a queue."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Start the SDK and the thread."""
        super().open(directory, endpoint)
        self._queue: SimpleQueue[tuple[Record, Numbers] | None] = SimpleQueue()
        self._given_up = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def recorder(self, payload: Payload) -> Record:
        """Queue the numbers."""
        record, put = super().recorder(payload), self._queue.put
        return lambda numbers: put((record, numbers))

    def settle(self) -> None:
        """Wait until the queue is empty; events left after some seconds are discarded."""
        deadline = time.monotonic() + SETTLES_S
        while not self._queue.empty() and time.monotonic() < deadline:
            time.sleep(0.01)
        while not self._queue.empty():
            try:
                self._queue.get_nowait()
            except Empty:
                return
            self._given_up += 1

    def lost(self) -> int:
        """Events discarded at the end."""
        return self._given_up

    def close(self) -> None:
        """End the thread and the SDK."""
        self._queue.put(None)
        self._thread.join()
        super().close()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            record, numbers = item
            record(numbers)


class PrometheusClient:
    """A gauge of prometheus_client for each number, its labels looked up once; scraped every 5 s."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Serve."""
        self._registry = CollectorRegistry()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._server, self._thread = start_http_server(port, "127.0.0.1", self._registry)
        self._scraper: subprocess.Popen[bytes] = scrape(f"http://127.0.0.1:{port}/metrics")

    def recorder(self, payload: Payload) -> Record:
        """Set every gauge."""
        names = [f"{payload.name}_{name}".replace(" ", "_").replace(".", "_") for name in payload.names]
        gauges = [Gauge(name, "A number.", list(ATTRIBUTES), registry=self._registry) for name in names]
        setters = [gauge.labels(**ATTRIBUTES).set for gauge in gauges]

        def record(numbers: Numbers) -> None:
            for set_to, number in zip(setters, numbers, strict=True):
                set_to(number)

        return record

    def settle(self) -> None:
        """Nothing waits."""

    def lost(self) -> int:
        """None."""
        return 0

    def close(self) -> None:
        """Stop serving."""
        end(self._scraper)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
