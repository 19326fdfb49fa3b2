"""Rank 0 alone writes the root of a round; what went wrong on another rank is in the trace all the same."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from esper_otel.events import BatchCompleted, EpochCompleted, Event, Rollback, TrainingStarted
from esper_otel.log.envelope import Record
from esper_otel.relay.traces.projector import TraceProjector

SECOND = 1_000_000_000
HEALTHY: tuple[Event, ...] = (TrainingStarted(n_envs=1), EpochCompleted(env_id=0), BatchCompleted(batch_idx=1))
ROLLED_BACK: tuple[Event, ...] = (*HEALTHY[:2], Rollback(env_id=0, panic_reason="governor_nan"), HEALTHY[2])


def spans_of(events: tuple[Event, ...], *, rank: int) -> list[ReadableSpan]:
    """The spans of one rank, an event each second."""
    projector = TraceProjector("run", Resource({}))
    spans = []
    for at, event in enumerate(events, 1):
        record = Record(event_id=f"{rank}-{at}", event_type=event.event_type, timestamp_ns=at * SECOND, rank=rank)
        spans += projector.feed(record, (event,))
    return spans + projector.close()


def named(spans: list[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def test_a_round_that_was_anomalous_on_another_rank_has_a_span_that_says_so() -> None:
    (root,) = named(spans_of(HEALTHY, rank=0), "simic.round")
    (anomaly,) = named(spans_of(ROLLED_BACK, rank=1), "simic.round.anomaly")

    assert anomaly.attributes is not None
    assert anomaly.parent is not None
    assert (True, 1, 1) == tuple(anomaly.attributes[f"esper.{key}"] for key in ("round.anomalous", "round", "rank"))
    assert (root.context.trace_id, root.context.span_id) == (anomaly.parent.trace_id, anomaly.parent.span_id)
    assert (StatusCode.ERROR, "tolaria.rollback") == (anomaly.status.status_code, anomaly.status.description)
    assert (4 * SECOND, 4 * SECOND) == (anomaly.start_time, anomaly.end_time)


def test_a_healthy_rank_writes_no_such_span() -> None:
    assert [] == named(spans_of(HEALTHY, rank=1), "simic.round.anomaly")


def test_rank_0_says_it_in_the_root_alone() -> None:
    spans = spans_of(ROLLED_BACK, rank=0)

    assert [True] == [(span.attributes or {})["esper.round.anomalous"] for span in named(spans, "simic.round")]
    assert [] == named(spans, "simic.round.anomaly")


def test_each_rank_has_its_own() -> None:
    ids = {
        span.context.span_id
        for rank in (1, 2)
        for span in named(spans_of(ROLLED_BACK, rank=rank), "simic.round.anomaly")
    }

    assert 2 == len(ids)
