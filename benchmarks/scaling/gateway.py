"""One gateway: the shipped configuration with TLS, token, disk queue and tail sampling, on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.scaling.load import Target
from benchmarks.scaling.processes import ROOT, cpu_s, environment, memory_bytes

COLLECTOR: Final = ROOT / ".tools" / "bin" / "otelcol-esper"
CONFIGURATION: Final = ROOT / "deploy" / "collector" / "gateway.yaml"
START_S: Final = 30.0
TOKEN: Final = "of-a-benchmark"

UNSAMPLED: Final = "service: {pipelines: {traces: {processors: [memory_limiter]}}}\n"
LIMIT_SHARE: Final = 0.8
SPIKE_SHARE: Final = 0.2
"""The shipped shares of a container's memory; outside one they have to be given in MiB."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Resources of the gateway.

    Attributes:
        cores: processors that Go uses; the generator and the back end need the others.
        memory_mib: memory of the container that it stands for.
        tail_sampling: whether it chooses which rounds to keep.
    """

    cores: int = 2
    memory_mib: int = 2048
    tail_sampling: bool = True

    @property
    def limit_mib(self) -> int:
        """Limit of the memory limiter."""
        return int(self.memory_mib * LIMIT_SHARE)

    def overlay(self) -> str:
        """Overrides of the shipped configuration: this memory and, if so configured, no tail sampling."""
        spike_mib = int(self.memory_mib * SPIKE_SHARE)
        limiter = f"{{limit_percentage: 0, limit_mib: {self.limit_mib}, spike_limit_mib: {spike_mib}}}"
        return f"processors: {{memory_limiter: {limiter}}}\n" + ("" if self.tail_sampling else UNSAMPLED)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of the gateway and figures from /proc at one moment; counts are since its start."""

    at_s: float
    cpu_s: float
    memory_bytes: int
    accepted: float
    refused: float
    failed: float
    queued_bytes: float


class Gateway:
    """A running gateway."""

    def __init__(self, process: subprocess.Popen[bytes], target: Target, own_metrics: str) -> None:
        self.target = target
        self._process = process
        self._own_metrics = own_metrics

    def read(self) -> Reading:
        """Scrape it once.

        Raises:
            OSError: it does not answer.
        """
        totals: defaultdict[str, float] = defaultdict(float)
        for name, value in _samples(self._own_metrics):
            totals[_KIND.get(name.removesuffix("_total"), "")] += value
        return Reading(
            at_s=time.monotonic(),
            cpu_s=cpu_s(self._process.pid),
            memory_bytes=memory_bytes(self._process.pid),
            accepted=totals["accepted"],
            refused=totals["refused"],
            failed=totals["failed"],
            queued_bytes=totals["queued"],
        )


_ITEMS: Final = ("spans", "metric_points", "log_records")
_KIND: Final = {
    **{f"otelcol_receiver_accepted_{items}": "accepted" for items in _ITEMS},
    **{f"otelcol_receiver_refused_{items}": "refused" for items in _ITEMS},
    **{f"otelcol_receiver_failed_{items}": "refused" for items in _ITEMS},
    **{f"otelcol_exporter_enqueue_failed_{items}": "failed" for items in _ITEMS},
    **{f"otelcol_exporter_send_failed_{items}": "failed" for items in _ITEMS},
    "otelcol_exporter_queue_size": "queued",
}


def _samples(url: str) -> Iterator[tuple[str, float]]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.value


@contextmanager
def gateway(directory: Path, shape: Shape) -> Iterator[Gateway]:
    """Run a gateway and a back end that discards; ends both.

    Raises:
        FileNotFoundError: the collector was not built.
        RuntimeError: it did not start; its last words are in the message.
    """
    if not COLLECTOR.exists():
        raise FileNotFoundError(f"{COLLECTOR} is not there: 'make tools' builds it")
    directory.mkdir(parents=True)
    authority = _certificate(directory)
    (directory / "token").write_text(TOKEN)
    overlay = directory / "overlay.yaml"
    overlay.write_text(shape.overlay())
    grpc_port, own_port, health_port = _free_ports(3)
    with _sink() as url, (directory / "collector.out").open("wb") as out:
        env = environment(
            GOMAXPROCS=str(shape.cores),
            GOMEMLIMIT=f"{shape.limit_mib}MiB",
            COLLECTOR_TLS_DIR=str(directory),
            COLLECTOR_GATEWAY_TOKEN_FILE=str(directory / "token"),
            COLLECTOR_QUEUE_DIR=str(directory / "queue"),
            COLLECTOR_GRPC_PORT=str(grpc_port),
            COLLECTOR_OWN_METRICS_PORT=str(own_port),
            COLLECTOR_HEALTH_PORT=str(health_port),
            **{f"COLLECTOR_{signal}_URL": url for signal in ("METRICS", "TRACES", "LOGS")},
        )
        command = [str(COLLECTOR), "--config", str(CONFIGURATION), "--config", str(overlay)]
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
        try:
            own_metrics = f"http://127.0.0.1:{own_port}/metrics"
            _wait(process, own_metrics, directory / "collector.out")
            yield Gateway(process, Target(f"127.0.0.1:{grpc_port}", str(authority), TOKEN), own_metrics)
        finally:
            process.kill()  # what waits in its queue is of no worth
            process.wait()


def _certificate(directory: Path) -> Path:
    names = ["-subj", "/CN=gateway", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(directory / "tls.key"), "-out", str(directory / "tls.crt")]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *key, *files, *names], check=True, capture_output=True)
    return directory / "tls.crt"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def _sink() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.scaling.sink"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()) as sink:
        assert sink.stdout is not None
        yield f"http://127.0.0.1:{int(sink.stdout.readline())}"
        sink.kill()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            list(_samples(url))
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the gateway did not start: {log.read_text()[-2000:]}")
