"""One real training run, followed by its relay, scraped by a real Prometheus and sent to a real OTLP receiver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from tests.otlp_receiver import OtlpReceiver, wait_for_events
from tests.relay.processes import announced_url, environment, lines_of, manifest, scrape
from tests.tools import ROOT
from tests.waiting import PATIENCE_S, wait_for

RECIPE = ("-m", "trainer", "--recipe", "smoke", "--seed", "3")


class TrainingRun(msgspec.Struct):
    """What the run left behind and what its consumers saw.

    Attributes:
        run: run directory.
        output: what the trainer printed.
        lines: every line of the log.
        scraped: the exposition after the end of the run.
        during: an exposition from the middle of it.
        received: receivers by protocol.
    """

    run: Path
    output: str
    lines: list[dict]
    scraped: str
    during: str
    received: OtlpReceiver


def train(directory: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the trainer to its end."""
    return subprocess.run(
        [sys.executable, *RECIPE, "--telemetry-dir", str(directory), *options],
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )


@pytest.fixture(scope="session", params=["http/protobuf", "grpc"])
def training_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingRun]:
    """The run, once for each OTLP protocol."""
    directory = tmp_path_factory.mktemp("telemetry")
    with OtlpReceiver() as receiver:
        endpoint = receiver.http_endpoint if request.param == "http/protobuf" else receiver.grpc_endpoint
        trainer = subprocess.Popen(
            [sys.executable, *RECIPE, "--telemetry-dir", str(directory)],
            cwd=ROOT,
            env=environment(
                OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
                OTEL_EXPORTER_OTLP_PROTOCOL=request.param,
                OTEL_EXPORTER_OTLP_INSECURE="true",
                OTEL_METRIC_EXPORT_INTERVAL="1000",
                ESPER_OTEL_LINGER="300",
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        run = wait_for(lambda: next(directory.glob("*/run.json"), None), "the run's directory").parent.resolve()
        url = announced_url(run)
        during = wait_for(
            lambda: (text := scrape(url)) and "tamiyo_pre_clip_grad_norm_bucket" in text and text,
            "metrics during training",
        )
        output, _ = trainer.communicate(timeout=PATIENCE_S)
        wait_for(lambda: manifest(run)["status"] == "finished", "the end of the run")
        wait_for_events(receiver, lines_of(run))
        time.sleep(1.0)
        yield TrainingRun(run, output, lines_of(run), scrape(url), during, receiver)
        with suppress(ProcessLookupError):  # it ends by itself when the tests take longer than it lingers
            os.kill(manifest(run)["relay"]["pid"], signal.SIGTERM)
