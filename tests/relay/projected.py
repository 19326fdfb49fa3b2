"""Spans that the projector makes of events at given times, and how tests name them."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from esper_otel.events import (
    BatchCompleted,
    Event,
    TrainingStarted,
)
from esper_otel.log.envelope import Record
from esper_otel.relay.traces.projector import TraceProjector

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
Timed = tuple[float, Event]


def record(at_s: float, event: Event | None, *, rank: int = 0, group: str = "default") -> Record:
    name = "SOMETHING" if event is None else event.event_type
    return Record(
        event_id=f"{at_s}", event_type=name, timestamp_ns=START + int(at_s * SECOND), rank=rank, group_id=group
    )


def project(
    events: Iterable[Timed], *, rank: int = 0, group: str = "default", close: bool = True
) -> list[ReadableSpan]:
    projector = TraceProjector("run-1", Resource({}))
    spans = [
        span for at, event in events for span in projector.feed(record(at, event, rank=rank, group=group), (event,))
    ]
    return spans + (projector.close() if close else [])


def one_round(*inside: Timed, batch: int = 1, end_s: float = 10.0) -> list[Timed]:
    started = [(0.0, TrainingStarted(n_envs=1))] if batch == 1 else []
    return [*started, *inside, (end_s, BatchCompleted(batch_idx=batch))]


def named(spans: Iterable[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def interval_s(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - START) / SECOND, (span.end_time - START) / SECOND


def outline(spans: list[ReadableSpan]) -> list[str]:
    """One line for each span: its path from the root and its interval in s."""
    names = {span.context.span_id: span for span in spans}

    def path(span: ReadableSpan) -> str:
        return f"{path(names[span.parent.span_id])} > {span.name}" if span.parent else span.name

    return sorted("{} {:g}..{:g}".format(path(span), *interval_s(span)) for span in spans)
