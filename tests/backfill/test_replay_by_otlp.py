"""Spans, log events and metrics of an old run, replayed by OTLP, have the times at which it happened."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

import msgspec
import pytest

from tests.otlp_receiver import OtlpReceiver
from tests.recorded import recording
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

NAME = "esper-lite-3env-3slot"


class Replayed(msgspec.Struct):
    """The recording's own times in Unix µs, and what arrived of it."""

    times_us: list[int]
    received: OtlpReceiver


@pytest.fixture(scope="module")
def replayed() -> Iterator[Replayed]:
    with gzip.open(recording(NAME), "rt") as lines:
        stamps = [json.loads(line)["timestamp"] for line in lines]
    times_us = sorted(round(datetime.fromisoformat(stamp).timestamp() * 1e6) for stamp in stamps)
    with OtlpReceiver() as received:
        env = python_environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=received.http_endpoint,
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_METRIC_EXPORT_INTERVAL="1000",
        )
        command = [sys.executable, "-m", "esper_otel.relay", str(recording(NAME)), "--linger", "0"]
        subprocess.run(command, env=env, check=True, capture_output=True, timeout=PATIENCE_S)
        yield Replayed(times_us, received)


def test_every_log_event_has_the_time_of_its_line(replayed: Replayed) -> None:
    assert set(replayed.times_us) == {log.time_unix_nano // 1000 for log in replayed.received.logs}


def test_every_span_lies_within_the_run(replayed: Replayed) -> None:
    first_us, last_us = replayed.times_us[0], replayed.times_us[-1]
    spans = replayed.received.spans

    assert len(spans) > 50
    assert first_us <= min(span.start_time_unix_nano for span in spans) // 1000
    assert last_us >= max(span.end_time_unix_nano for span in spans) // 1000


def test_metrics_are_exported_at_intervals_of_the_runs_own_time(replayed: Replayed) -> None:
    points = [
        point.time_unix_nano // 1000
        for metric in replayed.received.metrics
        if metric.name == "tamiyo.decisions"
        for point in metric.sum.data_points
    ]

    assert len(set(points)) >= 3
    assert replayed.times_us[0] <= min(points) <= max(points) <= replayed.times_us[-1]
