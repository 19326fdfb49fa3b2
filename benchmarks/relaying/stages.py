"""CPU time of each stage of the relay for one event, in one process and on one thread.

    python -m benchmarks.relaying.stages [--events 10000] [--repeats 5]

The stages are those that an event passes with metrics, spans and log events on; the least of some repeats is given.
What it leaves out is the hand-over between threads, requests, checkpoints and the collector of cycles:
:mod:`benchmarks.relay` measures all of it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from opentelemetry.sdk.resources import Resource

from benchmarks.alternatives.payloads import PAYLOADS, Payload
from benchmarks.relay import EVENT_NS
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest, Ingested
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.exemplars import Exemplars
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.otlp.encoded import OtlpRequest
from esper_otel.relay.otlp.log_records import LogEventProjector
from esper_otel.relay.traces.projector import TraceProjector

BATCH: Final = 500
T = TypeVar("T")


class Stages:
    """The least CPU time of every stage, µs an event."""

    def __init__(self, events: int) -> None:
        """Nothing measured yet."""
        self.least: dict[str, float] = {}
        self._events = events

    def take(self, name: str, work: Callable[[], T]) -> T:
        """Do ``work`` and measure it as ``name``."""
        started_ns = time.process_time_ns()
        done = work()
        each_us = (time.process_time_ns() - started_ns) / self._events / 1e3
        self.least[name] = min(self.least.get(name, each_us), each_us)
        return done


def measure(events: int, repeats: int) -> list[dict[str, Any]]:
    """A row for each payload and stage."""
    rows = []
    for make in PAYLOADS.values():
        payload, stages = make(), Stages(events)
        with tempfile.TemporaryDirectory() as temporary:
            run = Path(temporary) / "run"
            _write(run, payload, events)
            for _ in range(repeats):
                _pass_through(run, stages)
        rows += [{"payload": payload.name, "stage": name, "cpu_us": each} for name, each in stages.least.items()]
    return rows


def _write(run: Path, payload: Payload, events: int) -> None:
    run.mkdir()
    encoder, started_ns = LineEncoder(run.name, 0), time.time_ns()
    with (run / "events.jsonl").open("wb") as log:
        for number, numbers in zip(range(events), itertools.cycle(payload.pool), strict=False):
            envelope = Envelope(started_ns + number * EVENT_NS, "default", None, None, number + 1)
            log.write(encoder.encode(payload.build(numbers), envelope)[0])


def _pass_through(run: Path, stages: Stages) -> None:
    items = stages.take("read the log, decode lines with their events", lambda: _read(run))
    ingest, state, liveness = Ingest(), MetricState(), Liveness(None, stall_after_s=300)
    exemplars, traces, logs = Exemplars(run.name), TraceProjector(run.name, Resource({})), LogEventProjector(run.name)
    lines = stages.take("look for repetitions", lambda: [ingest.take(item) for item in items])
    stages.take("metrics", lambda: _each(lines, lambda line: account(state, line)))
    stages.take("liveness", lambda: _each(lines, liveness.observe))
    stages.take("exemplars", lambda: _each(lines, exemplars.observe))
    contexts = stages.take("spans", lambda: [_context(traces, line) for line in lines])
    records = stages.take("log events", lambda: _records(logs, lines, contexts))
    request = OtlpRequest(Resource({}))
    stages.take("request", lambda: [request.encode(records[at : at + BATCH]) for at in range(0, len(records), BATCH)])


def _read(run: Path) -> list[Any]:
    with LogReader(run, follow=False, decode_events=True) as reader:
        return list(itertools.chain.from_iterable(iter(lambda: reader.read(BATCH), [])))


def _each(lines: Sequence[Ingested], act: Callable[[Ingested], None]) -> None:
    for line in lines:
        act(line)


def _context(traces: TraceProjector, line: Ingested) -> tuple[int, int]:
    assert line.record is not None
    traces.feed(line.record, line.events)
    return traces.trace_context(line.record)


def _records(logs: LogEventProjector, lines: Sequence[Ingested], contexts: Sequence[tuple[int, int]]) -> list[bytes]:
    records: list[bytes] = []
    for line, context in zip(lines, contexts, strict=True):
        assert line.record is not None
        records += logs.project(line.record, line.events, context, line.reason)
    return records


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for row in measure(arguments.events, arguments.repeats):
        print(msgspec.json.encode(row).decode())


if __name__ == "__main__":
    main()
