"""Deliveries at the sink behind the gateways, by run, compared with the records of the run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tests.otlp_receiver import REQUESTS, OtlpReceiver, attributes
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

SpanKey = tuple[bytes, bytes]
"""Trace and span."""


class Delivered(msgspec.Struct):
    """Deliveries of one run.

    Attributes:
        events: how often each event came, as a log record, by its id.
        spans: how often each span came.
        points: largest value of each counter by metric, summed over its series.
        resources: attributes of the resources by signal.
        tenants: tenants that it came for.
    """

    events: Counter[str] = msgspec.field(default_factory=Counter)
    spans: Counter[SpanKey] = msgspec.field(default_factory=Counter)
    points: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    resources: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    tenants: set[str] = msgspec.field(default_factory=set)

    def total(self, metric: str) -> float:
        """Latest total of a counter."""
        return sum(self.points.get(metric, {}).values())


class Losses(msgspec.Struct, frozen=True):
    """Records that did not arrive, and those that arrived more than once.

    Attributes:
        events: number of events that the run recorded.
        spans: number of spans that follow from them.
        lost_events: of them not there.
        lost_spans: of them not there.
        rounds: traces that lack a span.
        twice: events that came more than once.
        spans_twice: spans that came more than once.
    """

    events: int
    spans: int
    lost_events: int
    lost_spans: int
    rounds: int
    twice: int
    spans_twice: int

    @property
    def nothing(self) -> bool:
        """Return True if everything arrived."""
        return self.events > 0 and self.spans > 0 and not self.lost_events and not self.lost_spans

    def __str__(self) -> str:
        """As a row of the table on the page."""
        lost = f"{self.lost_events} of {self.events} log records, {self.lost_spans} of {self.spans} spans"
        cut = f" in {self.rounds} round{'s' * (self.rounds > 1)}" if self.rounds else ""
        return f"{lost}{cut}; {self.twice} and {self.spans_twice} arrived twice"


class Sink:
    """The files of the sink's pod (tests/cluster/sink.py), read as they come."""

    def __init__(self, directory: Path) -> None:
        """Read ``directory``."""
        self._directory = directory
        self._read: set[str] = set()
        self._runs: dict[str, Delivered] = {}

    def of(self, run: str) -> Delivered:
        """Deliveries of a run by now."""
        for path in sorted(self._directory.glob("*.pb")):
            if path.name not in self._read:
                self._read.add(path.name)
                self._take(path)
        return self._runs.setdefault(run, Delivered())

    def _take(self, path: Path) -> None:
        signal, _, tenant = path.stem.partition("-")[2].partition(".")
        request = REQUESTS[signal].FromString(path.read_bytes())
        for group in getattr(request, f"resource_{'spans' if signal == 'traces' else signal}"):
            said = attributes(group.resource)
            run = self._runs.setdefault(said.get("service.instance.id", ""), Delivered())
            run.resources[signal] = said
            run.tenants.add(tenant)
            _ADD[signal](run, group)


def _add_logs(run: Delivered, group: Any) -> None:
    run.events.update(attributes(log)["esper.event.id"] for scope in group.scope_logs for log in scope.log_records)


def _add_spans(run: Delivered, group: Any) -> None:
    run.spans.update((span.trace_id, span.span_id) for scope in group.scope_spans for span in scope.spans)


def _add_metrics(run: Delivered, group: Any) -> None:
    for metric in (metric for scope in group.scope_metrics for metric in scope.metrics):
        for point in metric.sum.data_points:
            series = run.points.setdefault(metric.name, {})
            key = str(sorted(attributes(point).items()))
            series[key] = max(series.get(key, 0.0), point.as_int or point.as_double)


_ADD = {"logs": _add_logs, "traces": _add_spans, "metrics": _add_metrics}


def recorded(run: Path, directory: Path) -> tuple[set[str], set[SpanKey]]:
    """Ids of the events in the log of a run, and the spans that follow from them: a relay of its own says so."""
    command = [str(Path(sys.executable).parent / "esper-otel"), "relay"]
    copy = shutil.copytree(run, directory / run.name)
    with OtlpReceiver() as receiver:
        done = subprocess.run(
            [*command, str(copy), "--linger", "0", "--from-start", "--state-dir", str(directory / "state")],
            env=python_environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint, OTEL_METRICS_EXPORTER="none"),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        events = {attributes(log)["esper.event.id"] for log in receiver.logs}
        return events, {(span.trace_id, span.span_id) for span in receiver.spans}


def losses(told: tuple[set[str], set[SpanKey]], there: Delivered) -> Losses:
    """Compare what was recorded with what is there."""
    events, spans = told
    missing = spans - set(there.spans)
    return Losses(
        events=len(events),
        spans=len(spans),
        lost_events=len(events - set(there.events)),
        lost_spans=len(missing),
        rounds=len({trace for trace, _ in missing}),
        twice=sum(count > 1 for count in there.events.values()),
        spans_twice=sum(count > 1 for count in there.spans.values()),
    )
