"""Deliveries at the end of the way, counted as they come: how often each id, and all samples of each counter."""

from __future__ import annotations

import threading
from typing import Any, Final

import msgspec

from tests.cluster.arrived import Delivered
from tests.otlp_receiver import RESPONSES, Mode, OtlpReceiver, attributes

Series = tuple[str, str, tuple[tuple[str, Any], ...]]
"""Instance, metric and attributes."""

CUMULATIVE: Final = 2
EVENT_ID: Final = "esper.event.id"
OF_THE_RELAY: Final = ("esper.relay.", "esper.nvml.")
"""Beginnings of the names of metrics about the process that sends: no second relay repeats them."""


class Samples(msgspec.Struct):
    """All samples of one counter.

    Attributes:
        values: by their time; a time with two values is a contradiction.
        repeated: how many came with a value that was there.
        late: how many came after a newer one.
    """

    values: dict[int, set[float]] = msgspec.field(default_factory=dict)
    repeated: int = 0
    late: int = 0
    newest: int = 0

    def take(self, time: int, value: float) -> None:
        """Count one sample."""
        at = self.values.setdefault(time, set())
        self.repeated += value in at
        self.late += time < self.newest
        self.newest = max(self.newest, time)
        at.add(value)

    @property
    def last(self) -> float:
        """The value at the newest time."""
        return max(self.values[self.newest])

    @property
    def never_falls(self) -> bool:
        """Return True if each time has one value, none below the value before it."""
        if any(len(values) > 1 for values in self.values.values()):
            return False
        in_order = [next(iter(values)) for _, values in sorted(self.values.items())]
        return in_order == sorted(in_order)


class Tally(OtlpReceiver):
    """A receiver that keeps ids and samples instead of requests.

    Attributes:
        there: events and spans of all runs.
        counters: samples of counters, and of the counts of histograms, of all runs.
        taken: number of requests.
    """

    def __init__(self) -> None:
        """Listen on two free ports of 127.0.0.1."""
        self.there = Delivered()
        self.counters: dict[Series, Samples] = {}
        self.taken = 0
        self._counting = threading.Lock()
        super().__init__()

    def answer(self, signal: str, request: Any, headers: dict[str, str]) -> tuple[Mode, Any]:
        """Count everything in a request, and accept it."""
        with self._counting:
            self.taken += 1
            for group in getattr(request, f"resource_{'spans' if signal == 'traces' else signal}"):
                getattr(self, f"_take_{signal}")(group)
        return "ok", RESPONSES[signal]()

    def has(self, events: set[str]) -> bool:
        """Return True if all these events are there."""
        with self._counting:
            return events <= self.there.events.keys()

    def _take_logs(self, group: Any) -> None:
        records = [record for scope in group.scope_logs for record in scope.log_records]
        self.there.events.update(
            pair.value.string_value for record in records for pair in record.attributes if pair.key == EVENT_ID
        )

    def _take_traces(self, group: Any) -> None:
        self.there.spans.update((span.trace_id, span.span_id) for scope in group.scope_spans for span in scope.spans)

    def _take_metrics(self, group: Any) -> None:
        instance = attributes(group.resource)["service.instance.id"]
        for metric in (metric for scope in group.scope_metrics for metric in scope.metrics):
            if metric.name.startswith(OF_THE_RELAY):
                continue
            for time, value, said in _cumulative(metric):
                series = (instance, metric.name, tuple(sorted(said.items())))
                self.counters.setdefault(series, Samples()).take(time, value)


def _cumulative(metric: Any) -> list[tuple[int, float, dict[str, Any]]]:
    kind = metric.WhichOneof("data")
    if kind == "sum" and metric.sum.is_monotonic:
        assert metric.sum.aggregation_temporality == CUMULATIVE
        return [(p.time_unix_nano, p.as_double or float(p.as_int), attributes(p)) for p in metric.sum.data_points]
    if kind == "histogram":
        assert metric.histogram.aggregation_temporality == CUMULATIVE
        return [(p.time_unix_nano, float(p.count), attributes(p)) for p in metric.histogram.data_points]
    return []
