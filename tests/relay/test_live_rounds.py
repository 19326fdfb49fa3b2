"""Rounds that are under way: their start is a log event with the id of the trace that comes with their end."""

from __future__ import annotations

from pathlib import Path

import pytest

import esper_otel
from esper_otel.events import BatchCompleted, EpochCompleted, RoundStarted, TrainingStarted
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay.projected import interval_s, named, project
from tests.waiting import wait_for

NAME = RoundStarted.otel_name


def test_a_round_is_seen_at_the_receiver_before_it_ends_and_its_span_has_the_same_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
        esper_otel.configure(telemetry_dir=tmp_path, relay=True, linger_s=0)
        try:
            esper_otel.emit(TrainingStarted(n_envs=1))
            esper_otel.emit(RoundStarted(batch=1))
            (started,) = wait_for(lambda: [log for log in receiver.logs if log.event_name == NAME], "the start")
            assert attributes(started)["simic.batch"] == 1
            assert [span.name for span in receiver.spans if span.name == "simic.round"] == []
            esper_otel.emit(BatchCompleted(batch_idx=1))
        finally:
            esper_otel.shutdown()
        (span,) = wait_for(lambda: [one for one in receiver.spans if one.name == "simic.round"], "the round")

    assert (span.trace_id, span.span_id) == (started.trace_id, started.span_id)


def test_what_happens_after_the_start_is_of_that_round_and_the_second_begins_where_the_first_ended() -> None:
    spans = project(
        [
            (0.0, TrainingStarted(n_envs=1)),
            (0.5, RoundStarted(batch=1)),
            (2.0, EpochCompleted(env_id=0, inner_epoch=1)),
            (3.0, BatchCompleted(batch_idx=1)),
            (3.5, RoundStarted(batch=2)),
            (5.0, BatchCompleted(batch_idx=2)),
        ]
    )

    assert [interval_s(span) for span in named(spans, "simic.round")] == [(0.0, 3.0), (3.0, 5.0)]
