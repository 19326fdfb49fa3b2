"""Data of one rank of a real run: its relay follows it, a receiver collects its exports, a scraper scrapes it."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.scaling.capture import Capture, Request
from benchmarks.scaling.processes import cpu_s, environment
from esper_otel.signals.registry import SIGNALS

SCRAPE_S: Final = 15.0
DEADLINE_S: Final = 900.0
LINGER_S: Final = 60.0
"""Longest time for the last scrape, which ends the relay."""


class Scrape(msgspec.Struct, frozen=True):
    """The last scrape of a run: its size in bytes and the number of series by sample name."""

    size: int
    series: dict[str, int]
    rounds: int

    @property
    def event_series(self) -> int:
        """Series of the metrics that events feed."""
        names = event_sample_names()
        return sum(count for name, count in self.series.items() if name in names)

    @property
    def all_series(self) -> int:
        """Every series, the relay's own and ``target_info`` included."""
        return sum(self.series.values())


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run with one rank.

    Attributes:
        rounds: rounds in the log.
        wall_s: from the first to the last export.
        scrape: the last scrape.
        requests: what was exported.
        log_bytes: size of the event log.
        log_zstd_bytes: the same compressed with zstandard, level 3.
        relay_cpu_s: CPU time of the relay from the moment that it serves to its end; None for a replay, which is not
            at the run's pace.
        relay_peak_bytes: largest resident memory of the relay.
    """

    name: str
    run_id: str
    rounds: int
    wall_s: float
    scrape: Scrape
    requests: list[Request]
    log_bytes: int
    log_zstd_bytes: int
    relay_cpu_s: float | None
    relay_peak_bytes: int

    @property
    def spans(self) -> int:
        """Spans exported."""
        return sum(_spans(request.body) for request in self.of("traces"))

    @property
    def log_records(self) -> int:
        """Log records exported."""
        return sum(_log_records(request.body) for request in self.of("logs"))

    def of(self, signal: str) -> list[Request]:
        """The exports of one signal."""
        return [request for request in self.requests if request.signal == signal]

    def size(self, signal: str, *, compressed: bool = False) -> int:
        """Bytes exported of one signal, each message compressed with gzip if asked."""
        return sum(len(gzip.compress(r.body, 6)) if compressed else len(r.body) for r in self.of(signal))


def event_sample_names() -> set[str]:
    """Names of the samples of every metric that events feed, parts of histograms included."""
    suffixes = ("_bucket", "_sum", "_count")
    names: set[str] = set()
    for signal in SIGNALS:
        name = signal.prometheus_name
        names |= {name + suffix for suffix in suffixes} if signal.bounds else {name}
    return names


def measure_recipe(recipe: str, directory: Path, *options: str) -> Run:
    """Train ``recipe`` in ``directory`` with a relay beside it, all at the pace of this machine.

    Raises:
        RuntimeError: trainer or relay failed.
    """
    run_id = f"scale-{recipe}-000000"
    run = directory / run_id
    trainer = [sys.executable, "-m", "trainer", "--recipe", recipe, "--telemetry-dir", str(directory), *options]
    env = environment(ESPER_OTEL_RELAY="0", ESPER_OTEL_RUN_ID=run_id)
    with (directory / "trainer.out").open("w") as out, Capture() as capture:
        with subprocess.Popen(trainer, env=env, stdout=out, stderr=out) as training, _bounded(training):
            _wait_for((run / "run.json").exists, "the run")
            figures = _relayed(recipe, run, capture, ("--follow",), live=True)
        if training.returncode:
            raise RuntimeError(f"the trainer failed: {(directory / 'trainer.out').read_text()[-2000:]}")
    return figures


def measure_recording(log: Path, directory: Path, **variables: str) -> Run:
    """Replay a finished log through a relay with ``variables``."""
    options = ("--state-dir", str(directory), "--drain", f"{DEADLINE_S:g}")
    with Capture() as capture:
        return _relayed(log.name.split(".jsonl")[0], log, capture, options, live=False, **variables)


def _relayed(name: str, log: Path, capture: Capture, options: tuple[str, ...], *, live: bool, **variables: str) -> Run:
    env = environment(
        **variables,
        OTEL_EXPORTER_OTLP_ENDPOINT=capture.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_PROMETHEUS_PORT="0",
    )
    command = [sys.executable, "-m", "esper_otel.relay", str(log), "--linger", str(LINGER_S), *options]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as relay, _bounded(relay):
        scraper = _Scraper(relay)
        scraper.run()
        _, status, usage = os.wait4(relay.pid, 0)
        relay.returncode = os.waitstatus_to_exitcode(status)
    if relay.returncode:
        raise RuntimeError(f"the relay on {log} ended with status {relay.returncode}: {''.join(scraper.said)}")
    requests = list(capture.requests)
    raw = _raw(log)
    return Run(
        name=name,
        run_id=log.name,
        rounds=scraper.last.rounds,
        wall_s=requests[-1].at_s - requests[0].at_s,
        scrape=scraper.last,
        requests=requests,
        log_bytes=len(raw),
        log_zstd_bytes=len(zstandard.ZstdCompressor(level=3).compress(raw)),
        relay_cpu_s=usage.ru_utime + usage.ru_stime - scraper.cpu_at_start_s if live else None,
        relay_peak_bytes=usage.ru_maxrss * 1024,
    )


class _Scraper:
    """Reader of a relay's output that also scrapes it at the usual interval until it ends."""

    def __init__(self, relay: subprocess.Popen[str]) -> None:
        self.said: list[str] = []
        self.last = Scrape(0, {}, 0)
        self.cpu_at_start_s = 0.0
        self._relay = relay
        self._over = threading.Event()

    def run(self) -> None:
        """Until the relay closes its standard error."""
        assert self._relay.stderr is not None
        thread: threading.Thread | None = None
        for line in self._relay.stderr:
            self.said.append(line)
            url = next((word.rstrip(";,") for word in line.split() if word.startswith("http://127.0.0.1:")), None)
            if url is not None and "/metrics" in url and thread is None:
                self.cpu_at_start_s = cpu_s(self._relay.pid)
                thread = threading.Thread(target=self._repeat, args=(url,))
                thread.start()
            if "is served for another" in line and url is not None:
                self.last = scrape(url)
                self._relay.terminate()
        self._over.set()
        if thread is not None:
            thread.join()

    def _repeat(self, url: str) -> None:
        while not self._over.wait(SCRAPE_S):
            try:
                scrape(url)
            except OSError:
                return  # the relay has just ended


def scrape(url: str) -> Scrape:
    """Scrape once.

    Raises:
        OSError: nobody answers.
    """
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    rounds = [
        sample.value
        for sample in samples
        if sample.name == "esper_events_total" and sample.labels["event_type"] == "TOLARIA_BATCH_COMPLETED"
    ]
    return Scrape(len(text.encode()), dict(Counter(sample.name for sample in samples)), int(sum(rounds)))


def _raw(log: Path) -> bytes:
    if log.is_dir():
        return b"".join(path.read_bytes() for path in sorted(log.glob("events*.jsonl")))
    return gzip.decompress(log.read_bytes()) if log.suffix == ".gz" else log.read_bytes()


def _spans(body: bytes) -> int:
    request: Any = ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def _log_records(body: bytes) -> int:
    request: Any = ExportLogsServiceRequest.FromString(body)
    return sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not begin within 60 s")
        time.sleep(0.05)


@contextmanager
def _bounded(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End ``process`` on leaving the block, or after :data:`DEADLINE_S` at the latest."""
    timer = threading.Timer(DEADLINE_S, process.kill)
    timer.start()
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        timer.cancel()
