"""Everything that a relay does with a log, in this process: what a hostile log is read by."""

from __future__ import annotations

from pathlib import Path

import msgspec
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk.resources import Resource
from prometheus_client import generate_latest

from esper_otel.log.duplicates import DUPLICATE
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.otlp.log_records import LogEventProjector
from esper_otel.relay.prometheus.exposition import FamilyCollector, registry_of
from esper_otel.relay.traces.projector import TraceProjector


class Outcome(msgspec.Struct):
    """What the relay made of a log: lines, finished spans, decoded log events, and the exposition."""

    lines: int = 0
    spans: int = 0
    logs: list[LogRecord] = []
    text: str = ""


def relay_in_process(path: Path) -> Outcome:
    """Read, count, trace and encode all of it; raises what any part of the relay would raise."""
    state, traces, logs = MetricState(), TraceProjector("run", Resource.get_empty()), LogEventProjector("run")
    ingest, liveness = Ingest(), Liveness(None, stall_after_s=60)
    outcome, spans = Outcome(), []
    with LogReader(path) as reader:
        while batch := reader.read(500):
            for line in map(ingest.take, batch):
                outcome.lines += 1
                account(state, line)
                liveness.observe(line)
                if line.record is None or line.reason == DUPLICATE:
                    continue
                spans += traces.feed(line.record, line.events)
                context = traces.trace_context(line.record)
                found = logs.project(line.record, line.events, context, line.reason)
                outcome.logs += [LogRecord.FromString(bytes(each)) for each in found]
    spans += traces.close()
    encode_spans(spans).SerializeToString()
    msgspec.json.decode(msgspec.json.encode([state.snapshot(), traces.snapshot(), ingest.state, liveness.snapshot()]))
    collector = FamilyCollector(lambda: state.collect(state.last_ns), {})
    outcome.text = generate_latest(registry_of(collector)).decode()
    outcome.spans = len(spans)
    return outcome
