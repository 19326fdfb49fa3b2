"""A captured run as the traffic of any number of ranks: its own times and messages, other ids.

Messages are not decoded when they are sent. A rank differs from the captured one by its run id, replaced by one of the
same length, and by its trace ids, combined with a mask; both are found as bytes. Messages of several ranks are put into
one by concatenation, which is how protobuf merges repeated fields: it is what the batch of an agent does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.scaling.capture import Request


class Message(msgspec.Struct, frozen=True):
    """One export of the captured run: when, which signal, the bytes, and the trace ids in them."""

    at_s: float
    signal: str
    body: bytes
    trace_ids: tuple[bytes, ...]


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's traffic, repeated every ``period_s``.

    Attributes:
        run_id: id of the captured run, ending in six digits.
        metrics: the largest export of metrics; sent every ``metrics_every_s`` (s).
        metrics_ranks: ranks whose metrics one export has; the first of them sends it.
        messages: exports of traces and logs in order of time, from 0 to ``period_s``.
    """

    run_id: str
    period_s: float
    metrics: bytes
    metrics_every_s: float
    metrics_ranks: int = 1
    messages: tuple[Message, ...]

    def stretched(self, factor: float) -> Schedule:
        """The same messages in ``factor`` times the time; metrics keep their interval."""
        return msgspec.structs.replace(
            self,
            period_s=self.period_s * factor,
            messages=tuple(msgspec.structs.replace(m, at_s=m.at_s * factor) for m in self.messages),
        )

    def as_rank(self, body: bytes, trace_ids: Iterable[bytes], rank: int, cycle: int) -> bytes:
        """``body`` as rank number ``rank`` (0 to 999,999) sends it in its ``cycle``-th repetition."""
        body = body.replace(self.run_id.encode(), f"{self.run_id[:-6]}{rank:06d}".encode())
        mask = (rank << 32 | cycle) + 1
        for trace_id in trace_ids:
            body = body.replace(trace_id, (int.from_bytes(trace_id) ^ mask).to_bytes(16))
        return body


def schedule_of(run_id: str, requests: list[Request], metrics_every_s: float) -> Schedule:
    """Make the traffic of a captured run repeatable.

    Raises:
        ValueError: the run sent no metrics, traces or logs, or its id does not end in six digits.
    """
    if not run_id[-6:].isdecimal():
        raise ValueError(f"the id of a captured run must end in six digits, not {run_id!r}")
    metrics = [request.body for request in requests if request.signal == "metrics"]
    rest = [request for request in requests if request.signal != "metrics"]
    if not metrics or not rest:
        raise ValueError("the captured run exported no metrics or neither traces nor logs")
    began = rest[0].at_s
    messages = tuple(Message(r.at_s - began, r.signal, r.body, trace_ids_of(r.signal, r.body)) for r in rest)
    return Schedule(
        run_id=run_id,
        period_s=messages[-1].at_s + 1.0,
        metrics=max(metrics, key=len),
        metrics_every_s=metrics_every_s,
        messages=messages,
    )


def trace_ids_of(signal: str, body: bytes) -> tuple[bytes, ...]:
    """Ids of the traces that an export of traces or logs names."""
    found: set[bytes] = set()
    if signal == "traces":
        traces: Any = ExportTraceServiceRequest.FromString(body)
        for span in (s for r in traces.resource_spans for scope in r.scope_spans for s in scope.spans):
            found |= {span.trace_id, *(link.trace_id for link in span.links)}
    else:
        logs: Any = ExportLogsServiceRequest.FromString(body)
        found = {log.trace_id for r in logs.resource_logs for scope in r.scope_logs for log in scope.log_records}
    return tuple(sorted(found - {b""}))
