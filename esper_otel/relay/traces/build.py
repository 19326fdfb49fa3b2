"""Finished spans, built from explicit times and ids instead of a running tracer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from esper_otel.log.envelope import Record
from esper_otel.relay.encoding.attributes import AttributeValue
from esper_otel.relay.traces.state import Lane, Round, SpanRef

SCOPE: Final = InstrumentationScope("esper_otel.relay")
TRUNCATED: Final = "esper.span.truncated"
START_UNKNOWN: Final = "esper.span.start_unknown"
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class SpanSink:
    """Collects the spans that one event finishes."""

    def __init__(self, resource: Resource) -> None:
        """Stamp every span with ``resource``."""
        self.resource = resource
        self.finished: list[ReadableSpan] = []

    def take_finished(self) -> list[ReadableSpan]:
        """The spans collected since the last call, in order of their end."""
        finished, self.finished = self.finished, []
        return finished

    def add(
        self,
        name: str,
        ref: SpanRef,
        times_ns: tuple[int, int],
        attributes: Mapping[str, AttributeValue],
        *,
        parent: SpanRef | None = None,
        links: Sequence[SpanRef] = (),
        error: str | None = None,
    ) -> None:
        """Add one span; ``error`` sets its error status and message."""
        self.finished.append(
            ReadableSpan(
                name,
                context=_context(ref),
                parent=None if parent is None else _context(parent),
                resource=self.resource,
                attributes=dict(attributes),
                links=tuple(Link(_context(link)) for link in links),
                status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
                start_time=times_ns[0],
                end_time=times_ns[1],
                instrumentation_scope=SCOPE,
            )
        )


def lane_attributes(lane: Lane, current: Round) -> dict[str, AttributeValue]:
    """Attributes that place a span of a round."""
    return {
        "esper.run.id": lane.run_id,
        "esper.round": current.number,
        "esper.group.id": lane.group,
        "esper.rank": lane.rank,
    }


def run_attributes(run_id: str, record: Record) -> dict[str, AttributeValue]:
    """Attributes that place a span of a run."""
    return {"esper.run.id": run_id, "esper.group.id": record.group_id, "esper.rank": record.rank}


def _context(ref: SpanRef) -> SpanContext:
    return SpanContext(ref[0], ref[1], is_remote=False, trace_flags=_SAMPLED)
