"""Metrics by OTLP: the present totals, at intervals, until the last ones are delivered."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final

from opentelemetry.sdk.resources import Resource

from esper_otel.relay.families import Family
from esper_otel.relay.otlp_delivery import SignalExporter
from esper_otel.relay.otlp_metrics import metrics_data
from esper_otel.relay.spans_build import SCOPE

DEFAULT_INTERVAL_MS: Final = 15_000
"""Shorter than OpenTelemetry's 60 s: an alert on one bad update should not wait for a minute."""

RETRY_S: Final = 1.0


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
    if not interval_ms > 0:
        raise ValueError(f"OTEL_METRIC_EXPORT_INTERVAL={text!r}: expected a number of milliseconds above 0")
    return interval_ms / 1000


class MetricExport:
    """Sends the families of a run."""

    def __init__(
        self,
        exporter: SignalExporter,
        resource: Resource,
        collect: Callable[[int], list[Family]],
        start_ns: Callable[[], int],
        interval_s: float,
    ) -> None:
        """``collect`` gives the families at a Unix time in ns, ``start_ns`` the start of the run."""
        self.interval_s = interval_s
        self._exporter = exporter
        self._resource = resource
        self._collect = collect
        self._start_ns = start_ns
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="esper-metric-export", daemon=True)

    def start(self) -> None:
        """Export at every interval from now on."""
        self._thread.start()

    def export(self, time_ns: int) -> bool:
        """Export once, with the values true at ``time_ns``; whether it went out."""
        families = self._collect(time_ns)
        if not families:
            return True
        data = metrics_data(
            families, resource=self._resource, scope=SCOPE, start_ns=self._start_ns() or time_ns, time_ns=time_ns
        )
        return self._exporter.export(data)

    def finish(self, timeout_s: float, time_ns: int) -> bool:
        """Stop the intervals and deliver the final totals; whether they went out within ``timeout_s``."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=timeout_s)
        deadline = time.monotonic() + timeout_s
        while not self.export(time_ns):
            if time.monotonic() > deadline:
                return False
            time.sleep(RETRY_S)
        return True

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s):
            self.export(time.time_ns())
