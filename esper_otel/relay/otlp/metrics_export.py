"""Metrics by OTLP: the current totals, at intervals, until the last ones are delivered."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.metrics.export import MetricsData

from esper_otel.relay.console import say
from esper_otel.relay.following import Worker
from esper_otel.relay.metrics.families import Family
from esper_otel.relay.otlp.deltas import Deltas, Interval
from esper_otel.relay.otlp.metrics_data import metrics_data
from esper_otel.relay.pipeline import Context, Exporter
from esper_otel.relay.traces.build import SCOPE

DEFAULT_INTERVAL_MS: Final = 15_000
"""Shorter than OpenTelemetry's 60 s: an alert on one bad update should not wait for a minute."""

RETRY_S: Final = 1.0
PAUSE_S: Final = 10.0
"""Pause of a replay after a failed export: later totals contain the earlier ones."""

CHECKPOINT: Final = "otlp_metrics"
"""What was delivered, where only what was added is sent."""


def interval_from_env() -> float:
    """OTEL_METRIC_EXPORT_INTERVAL in s, 15 s unless it is set.

    Raises:
        ValueError: it is not a positive number of milliseconds.
    """
    text = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or str(DEFAULT_INTERVAL_MS)
    try:
        interval_ms = float(text)
    except ValueError:
        interval_ms = 0.0
    if not 0 < interval_ms < math.inf:
        raise ValueError(f"OTEL_METRIC_EXPORT_INTERVAL={text!r}: expected a number of milliseconds above 0")
    return interval_ms / 1000


class MetricExport(Worker):
    """Sends the families of a run."""

    destination = "the OTLP endpoint"
    is_required = True

    def __init__(self, exporter: Exporter, context: Context, interval_s: float) -> None:
        """Send to ``exporter`` every ``interval_s``: by the clock while following, by the log's time in a replay."""
        super().__init__()
        self._interval_s = interval_s
        self._exporter = exporter
        self._context = context
        self._replayed_ns = 0
        self._failed_at = -PAUSE_S
        self._deltas = _stored_deltas(context) if context.exporters.is_delta else None
        self._pending: tuple[Interval, MetricsData] | None = None

    @property
    def accounts(self) -> Sequence[Exporter]:
        """Counters of data points."""
        return [self._exporter]

    def start(self) -> None:
        """Export at every interval from now on; a replay exports at those of the log."""
        if self._context.follow or self._is_finishing.is_set():
            super().start()

    def replayed(self, until_ns: int) -> None:
        """Export the metrics as they were at ``until_ns``, once an interval of the log's own time."""
        is_due = until_ns - self._replayed_ns >= self._interval_s * 1e9
        if is_due and time.monotonic() - self._failed_at >= PAUSE_S:
            if not self.export(until_ns):
                self._failed_at = time.monotonic()
            self._replayed_ns = until_ns

    def export(self, time_ns: int) -> bool:
        """Export once, with the values true at ``time_ns``; returns True if all of them were sent."""
        if self._deltas is not None:
            return self._export_pending(self._deltas) and self._export_added(self._deltas, time_ns)
        families, began_ns = self._collected(time_ns)
        return not families or self._exporter.export(self._data(families, began_ns, time_ns))

    def _collected(self, time_ns: int) -> tuple[list[Family], int]:
        return self._context.metrics.collect(time_ns), self._context.metrics.state.started_ns or time_ns

    def _data(self, families: list[Family], start_ns: int, time_ns: int) -> MetricsData:
        return metrics_data(
            families,
            resource=self._context.resource,
            scope=SCOPE,
            start_ns=start_ns,
            time_ns=time_ns,
            is_delta=self._deltas is not None,
        )

    def _export_added(self, deltas: Deltas, time_ns: int) -> bool:
        families, began_ns = self._collected(time_ns)
        interval = deltas.interval(families, began_ns=began_ns, now_ns=time_ns)
        if interval.families:
            self._pending = interval, self._data(interval.families, interval.start_ns, interval.end_ns)
        return self._export_pending(deltas)

    def _export_pending(self, deltas: Deltas) -> bool:
        """Resend unchanged an export that may have arrived without a response: added values would count twice."""
        if self._pending is None:
            return True
        interval, data = self._pending
        if not self._exporter.export(data):
            return False
        self._pending = None
        deltas.deliver(interval)
        if self._context.directory is not None:
            self._context.directory.save(CHECKPOINT, deltas.state)
        return True

    def drain(self, *, is_over: bool) -> None:
        """Stop the intervals and export the final totals."""
        super().drain(is_over=is_over)
        if self._thread is None:
            self.start()

    def work(self) -> bool:
        """Export at the intervals, and the final totals until they are accepted."""
        while not self._is_finishing.wait(self._interval_s):
            self.export(time.time_ns())
        while not self.export(self._context.now_ns()):
            if self._stop.wait(RETRY_S):
                return False
        return True


def _stored_deltas(context: Context) -> Deltas:
    stored = context.directory.load(CHECKPOINT) if context.directory is not None else None
    try:
        return Deltas(stored)
    except Exception as error:  # whatever is wrong with it
        say(f"the delivered part of the metrics is unknown ({error}); they are sent from the start of the run")
        return Deltas()


def make(context: Context) -> MetricExport | None:
    """Build the export of metrics where the environment asks for it.

    Raises:
        ValueError: OTEL_METRIC_EXPORT_INTERVAL is not a positive number of milliseconds.
    """
    interval_s = interval_from_env()
    exporter = context.exporters.metrics
    return None if exporter is None else MetricExport(exporter, context, interval_s)
