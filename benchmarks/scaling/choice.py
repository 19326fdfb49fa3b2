"""Cost of one rank by what its relay leaves out: log events, ranks and environments of metrics, rounds as traces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.scaling.paced import Recording
from benchmarks.scaling.rank import ANOMALOUS, INTERVAL_S
from benchmarks.scaling.runs import Run, measure_recording
from benchmarks.scaling.schedule import Message, Schedule, trace_ids_of
from benchmarks.scaling.sizing import RANKS_PER_NODE
from esper_otel.archive.address import address_of
from esper_otel.sql.archiving.whole import archive

BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE_EVERY: Final = 100
"""Default of ESPER_OTEL_LOGS_EVERY."""

NODE_ROUNDS: Final = 12
"""Rounds after which a node's metrics are taken: every environment has reported by then."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a relay.

    Attributes:
        name: for the tables.
        variables: environment of the relay.
        rounds: rounds of the schedule; a whole period of what is sampled.
    """

    name: str
    variables: dict[str, str]
    rounds: int = WHOLE_EVERY

    @property
    def before(self) -> int:
        """Rounds before the schedule: round 1 is always whole."""
        return WHOLE_EVERY if "ESPER_OTEL_LOGS" in self.variables else 2


_LESS: Final = {"ESPER_OTEL_LOGS": "sampled", "ESPER_OTEL_METRICS": "summary"}
CHOICES: Final = (
    Choice(name="everything", variables={}, rounds=20),
    Choice(name="logs sampled, metrics summary", variables=_LESS),
    Choice(
        name="and one round in 10 as traces",
        variables={**_LESS, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    ),
)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of one rank.

    Attributes:
        series: those of its node's relay, shared by the ranks of the node.
        metrics_bytes, points: its share of one export of metrics, and of the points in it.
        spans, span_bytes, records, record_bytes: of one round, on average.
        anomalous_share: share of the traces that the gateways always keep.
        archive_bytes: archived Parquet of one round.
        schedule: its traffic; the metrics are those of a node.
    """

    choice: str
    round_s: float
    series: float
    metrics_bytes: float
    points: float
    spans: float
    span_bytes: float
    records: float
    record_bytes: float
    anomalous_share: float
    archive_bytes: float
    schedule: Schedule

    @property
    def bytes_per_s(self) -> float:
        """Everything by OTLP, uncompressed."""
        return self.metrics_bytes / INTERVAL_S + (self.span_bytes + self.record_bytes) / self.round_s

    @property
    def items_per_s(self) -> float:
        """Spans, log events and points of metrics."""
        return self.points / INTERVAL_S + (self.spans + self.records) / self.round_s


def archived_bytes(recording: Recording, round_s: float, directory: Path) -> float:
    """Bytes of the archive for each round."""
    log = directory / f"{recording.run_id}.jsonl"
    recording.write(log, BEGAN, rounds=WHOLE_EVERY, round_s=round_s)
    return archive(log, address_of(f"file://{directory}/archive")).size_bytes / WHOLE_EVERY


def cost_of(recording: Recording, choice: Choice, round_s: float, archive_bytes: float, directory: Path) -> Cost:
    """Replay a rank through a relay with the settings, and a node's ranks for the metrics.

    Raises:
        RuntimeError: a relay failed.
    """
    directory.mkdir()
    rank = _replayed(recording, choice.variables, directory / "rank", round_s, rounds=choice.before + choice.rounds)
    alone = {**choice.variables, "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    node = _replayed(recording, alone, directory / "node", round_s, rounds=NODE_ROUNDS, ranks=RANKS_PER_NODE)
    since, until = choice.before * round_s, (choice.before + choice.rounds) * round_s
    messages = sorted(_messages(rank, since, until), key=lambda message: message.at_s)
    traces = [one for one in messages if one.signal == "traces"]
    logs = [one for one in messages if one.signal == "logs"]
    spans = [span for one in traces for span in _spans(one.body)]
    metrics = max((request.body for request in node.of("metrics")), key=len)
    return Cost(
        choice=choice.name,
        round_s=round_s,
        series=node.scrape.all_series / RANKS_PER_NODE,
        metrics_bytes=len(metrics) / RANKS_PER_NODE,
        points=_points(metrics) / RANKS_PER_NODE,
        spans=len(spans) / choice.rounds,
        span_bytes=sum(len(one.body) for one in traces) / choice.rounds,
        records=sum(len(_records(one.body)) for one in logs) / choice.rounds,
        record_bytes=sum(len(one.body) for one in logs) / choice.rounds,
        anomalous_share=_anomalous(spans) / max(len({span.trace_id for span in spans}), 1),
        archive_bytes=archive_bytes,
        schedule=Schedule(
            run_id=recording.run_id,
            period_s=until - since,
            metrics=metrics,
            metrics_every_s=INTERVAL_S,
            metrics_ranks=RANKS_PER_NODE,
            messages=tuple(messages),
        ),
    )


def _replayed(
    recording: Recording, variables: dict[str, str], directory: Path, round_s: float, *, rounds: int, ranks: int = 1
) -> Run:
    directory.mkdir()
    log = directory / f"{recording.run_id}.jsonl"
    recording.write(log, BEGAN, rounds=rounds, round_s=round_s, ranks=ranks)
    return measure_recording(log, directory / "state", **variables)


def _messages(run: Run, since_s: float, until_s: float) -> Iterator[Message]:
    """The exports, each span and log event in the second of the log in which the relay would have sent it."""
    yield from _by_second(run, "traces", _spans, _of_spans, since_s, until_s)
    yield from _by_second(run, "logs", _records, _of_records, since_s, until_s)


def _by_second(
    run: Run,
    signal: str,
    items_of: Callable[[bytes], list[Any]],
    request_of: Callable[[bytes, list[Any]], bytes],
    since_s: float,
    until_s: float,
) -> Iterator[Message]:
    seconds: defaultdict[int, list[Any]] = defaultdict(list)
    requests = run.of(signal)
    for request in requests:
        for item in items_of(request.body):
            ns = item.end_time_unix_nano if signal == "traces" else item.time_unix_nano
            at_s = ns / 1e9 - BEGAN.timestamp()
            if since_s <= at_s < until_s:
                seconds[int(at_s - since_s)].append(item)
    for second, items in seconds.items():
        body = request_of(requests[0].body, items)
        yield Message(float(second), signal, body, trace_ids_of(signal, body))


def _spans(body: bytes) -> list[Any]:
    request: Any = ExportTraceServiceRequest.FromString(body)
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def _points(body: bytes) -> int:
    request: Any = ExportMetricsServiceRequest.FromString(body)
    scopes = [scope for resource in request.resource_metrics for scope in resource.scope_metrics]
    return sum(len(getattr(one, one.WhichOneof("data")).data_points) for scope in scopes for one in scope.metrics)


def _records(body: bytes) -> list[Any]:
    request: Any = ExportLogsServiceRequest.FromString(body)
    return [log for resource in request.resource_logs for scope in resource.scope_logs for log in scope.log_records]


def _of_spans(like: bytes, spans: list[Any]) -> bytes:
    return _with(ExportTraceServiceRequest.FromString(like), ("resource_spans", "scope_spans", "spans"), spans)


def _of_records(like: bytes, records: list[Any]) -> bytes:
    return _with(ExportLogsServiceRequest.FromString(like), ("resource_logs", "scope_logs", "log_records"), records)


def _with(request: Any, names: tuple[str, str, str], items: list[Any]) -> bytes:
    """The request with ``items`` alone, under its first resource and scope."""
    resources = getattr(request, names[0])
    scopes = getattr(resources[0], names[1])
    del resources[1:], scopes[1:], getattr(scopes[0], names[2])[:]
    getattr(scopes[0], names[2]).extend(items)
    body: bytes = request.SerializeToString()
    return body


def _anomalous(spans: list[Any]) -> int:
    return sum(any(pair.key == ANOMALOUS and pair.value.bool_value for pair in span.attributes) for span in spans)
