"""One rank in numbers per round and per second, drawn from a measured run."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.scaling.runs import Run

ANOMALOUS: Final = "esper.round.anomalous"
INTERVAL_S: Final = 15.0
"""Between two scrapes, and between two exports of metrics."""


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of one rank.

    Attributes:
        series: active series, the relay's own included.
        metrics_bytes: size of one export of metrics, uncompressed.
        spans, span_bytes, records, record_bytes: of one round; bytes uncompressed as exported.
        log_bytes, log_zstd_bytes: event log of one round.
        round_s: time of a round.
        anomalous_share: share of the rounds whose trace is always kept.
        relay_cpu_s: CPU time of the relay for one round, scrapes included; None when it was not at the run's pace.
        relay_peak_bytes: largest resident memory of the relay.
    """

    series: int
    metrics_bytes: float
    spans: float
    span_bytes: float
    records: float
    record_bytes: float
    log_bytes: float
    log_zstd_bytes: float
    round_s: float
    anomalous_share: float
    relay_cpu_s: float | None
    relay_peak_bytes: int

    @property
    def samples_per_s(self) -> float:
        """Samples at one scrape every 15 s."""
        return self.series / INTERVAL_S

    @property
    def metrics_bytes_per_s(self) -> float:
        """Metrics by OTLP."""
        return self.metrics_bytes / INTERVAL_S

    @property
    def bytes_per_s(self) -> float:
        """Everything by OTLP, uncompressed."""
        return self.metrics_bytes_per_s + (self.span_bytes + self.record_bytes) / self.round_s

    def at_pace(self, round_s: float) -> Rank:
        """The same rank with rounds of another length (s)."""
        return msgspec.structs.replace(self, round_s=round_s)


def rank_of(run: Run) -> Rank:
    """Figures of the one rank of ``run``.

    Raises:
        ValueError: it has no rounds.
    """
    if not run.rounds:
        raise ValueError(f"{run.name}: the log holds no finished round")
    return Rank(
        series=run.scrape.all_series,
        metrics_bytes=max(len(request.body) for request in run.of("metrics")),
        spans=run.spans / run.rounds,
        span_bytes=run.size("traces") / run.rounds,
        records=run.log_records / run.rounds,
        record_bytes=run.size("logs") / run.rounds,
        log_bytes=run.log_bytes / run.rounds,
        log_zstd_bytes=run.log_zstd_bytes / run.rounds,
        round_s=run.wall_s / run.rounds,
        anomalous_share=_anomalous(run) / run.rounds,
        relay_cpu_s=None if run.relay_cpu_s is None else run.relay_cpu_s / run.rounds,
        relay_peak_bytes=run.relay_peak_bytes,
    )


def _anomalous(run: Run) -> int:
    found: set[bytes] = set()
    for request in run.of("traces"):
        traces: Any = ExportTraceServiceRequest.FromString(request.body)
        for span in (s for r in traces.resource_spans for scope in r.scope_spans for s in scope.spans):
            if any(pair.key == ANOMALOUS and pair.value.bool_value for pair in span.attributes):
                found.add(span.trace_id)
    return len(found)
