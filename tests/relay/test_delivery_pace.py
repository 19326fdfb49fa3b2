"""Spans and log events wait a moment for company, and no longer: a request costs more than what is in a small one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from esper_otel.events import Heartbeat
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.relay.otlp.delivery import DELAY_S
from esper_otel.relay.otlp.exporters import Exporters
from esper_otel.relay.otlp.pipeline import LogDelivery
from tests.otlp_receiver import OtlpReceiver
from tests.waiting import wait_for

EVERY_S = 0.02


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint)
        yield receiver


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    (path / "events.jsonl").touch()
    return path


def following(run: Path) -> LogDelivery:
    resource = Resource({"service.name": "esper"})
    exporter = Exporters.from_env(resource).logs
    assert exporter is not None
    pipeline = LogDelivery(run, run_id="run", resource=resource, exporter=exporter, follow=True, directory=None)
    pipeline.start()
    return pipeline


def write(run: Path, numbers: range, pause_s: float = 0.0) -> None:
    encoder = LineEncoder("run", 0)
    with (run / "events.jsonl").open("ab", buffering=0) as log:
        for number in numbers:
            log.write(encoder.encode(Heartbeat(uptime_s=1.0), Envelope(number, "g", None, None, number))[0])
            time.sleep(pause_s)


def test_events_that_trickle_in_go_out_together(run: Path, receiver: OtlpReceiver) -> None:
    pipeline = following(run)

    started = time.monotonic()
    write(run, range(1, 101), EVERY_S)
    took_s = time.monotonic() - started

    pipeline.drain(is_over=False)
    assert pipeline.finish(20)
    assert len(receiver.logs) == 100
    assert len(receiver.headers) <= took_s / DELAY_S + 2


def test_a_single_event_does_not_wait_for_others_that_never_come(run: Path, receiver: OtlpReceiver) -> None:
    pipeline = following(run)

    write(run, range(1, 2))

    wait_for(lambda: len(receiver.logs) == 1, "the event")
    pipeline.drain(is_over=False)
    assert pipeline.finish(20)
    assert len(receiver.logs) == 1
