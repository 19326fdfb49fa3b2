"""A run whose relay a real Prometheus scrapes every second while it goes on, and what a panel would get from it."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from tests.grafana.substituted import Target
from tests.prometheus.real_prometheus import Prometheus, prometheus_on
from tests.relay.processes import manifest, process, relay
from tests.waiting import wait_for

WINDOW_S = 6
STEP_S = 1


class ScrapedRun(msgspec.Struct, frozen=True):
    """The run in Prometheus.

    Attributes:
        prometheus: the server.
        producer: whose run it is, ``trainer`` or ``esper-lite``.
        instance: the run's name there.
        since: when it was scraped first, Unix s.
        until: when it was scraped last, Unix s.
    """

    prometheus: Prometheus
    producer: str
    instance: str
    since: float
    until: float

    def series(self, target: Target) -> list[dict[str, Any]]:
        """The series that a query yields in the panel, those without a number left out."""
        shown = f"{int(self.until - self.since) + 2}s"
        text = target.filled(job="esper", instance=self.instance, window=f"{WINDOW_S}s", shown=shown)
        if target.instant:
            found = self.prometheus._get("query", query=text, time=f"{self.until:.3f}")["result"]
            return [one for one in found if one["value"][1] != "NaN"]
        times = {"start": f"{self.since:.3f}", "end": f"{self.until:.3f}", "step": str(STEP_S)}
        found = self.prometheus._get("query_range", query=text, **times)["result"]
        return [one for one in found if any(value != "NaN" for _, value in one["values"])]


@contextmanager
def scraped_training(directory: Path, *options: str) -> Iterator[ScrapedRun]:
    """The trainer, scraped from its first second to its end."""
    telemetry = directory / "telemetry"
    telemetry.mkdir()  # Prometheus watches directories that exist when it starts
    targets = telemetry / "prometheus_targets.json"
    command = ("-m", "trainer", *options, "--telemetry-dir", str(telemetry))
    since = time.time()
    with (
        prometheus_on(targets, directory) as prometheus,
        process(*command, ESPER_OTEL_LINGER="300") as trainer,
    ):
        run = wait_for(lambda: next(telemetry.glob("*/run.json"), None), "the run's directory").parent.resolve()
        prometheus.wait_for(f'up{{instance="{run.name}"}} == 1')
        wait_for(lambda: trainer.poll() is not None, "the end of training")
        wait_for(lambda: manifest(run).get("status") == "finished", "the end of the run")
        try:
            yield _scraped(prometheus, "trainer", run.name, since)
        finally:
            with suppress(ProcessLookupError):  # it ends by itself when the tests take longer than it lingers
                os.kill(manifest(run)["relay"]["pid"], signal.SIGTERM)


@contextmanager
def scraped_recording(directory: Path, recording: Path) -> Iterator[ScrapedRun]:
    """A recording of esper-lite that grows before the relay's eyes as it did when it was made, only faster."""
    run = directory / "telemetry" / "recorded"
    run.mkdir(parents=True)
    log = run / "events.jsonl"
    with gzip.open(recording, "rb") as packed:
        lines = packed.readlines()
    chunk = len(lines) // 8 + 1
    targets = directory / "targets.json"
    since = time.time()
    with log.open("wb") as growing, prometheus_on(targets, directory) as prometheus:
        growing.writelines(lines[:chunk])
        growing.flush()
        with relay(run, "--follow", "--idle-exit", "30") as following:
            address = _address(following)
            targets.write_text(json.dumps([{"targets": [address], "labels": {"job": "esper", "instance": "recorded"}}]))
            prometheus.wait_for('up{instance="recorded"} == 1')
            for start in range(chunk, len(lines), chunk):
                growing.writelines(lines[start : start + chunk])
                growing.flush()
                time.sleep(1.0)
            yield _scraped(prometheus, "esper-lite", "recorded", since)


def _address(following: subprocess.Popen[str]) -> str:
    """Host and port of the relay's endpoint, from what it says."""
    assert following.stderr is not None
    for line in following.stderr:
        if match := re.search(r"at http://(\S+)/metrics", line):
            return match[1]
    raise AssertionError("the relay ended without serving")


def _scraped(prometheus: Prometheus, producer: str, instance: str, since: float) -> ScrapedRun:
    time.sleep(2.0 * STEP_S)  # one more scrape, which holds the last events
    return ScrapedRun(prometheus, producer, instance, since, time.time())
