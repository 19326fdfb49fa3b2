"""The relay's metrics about the run, the GPUs and itself, collected from its parts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from esper_otel.relay.gpu.sampler import NvmlSampler
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics.pipeline import MetricsPipeline
from esper_otel.relay.pipeline import Pipeline, Registration
from esper_otel.signals import own

LEAST_LAG_S: Final = 1e-3
"""Lag while there are unread lines; 0 says that there are none."""


class OwnMetrics:
    """Refreshes the metrics; called a few times a second, never by a scrape."""

    def __init__(
        self,
        metrics: MetricsPipeline,
        *,
        liveness: Liveness,
        gpus: NvmlSampler,
        pipelines: Mapping[Registration, Pipeline],
    ) -> None:
        """``metrics`` takes the points, the others give them."""
        self._metrics = metrics
        self._liveness = liveness
        self._gpus = gpus
        self._pipelines = pipelines
        self._caught_up_at = time.monotonic()

    def refresh(self) -> None:
        """Refresh everything."""
        metrics = self._metrics
        metrics.set_own(own.RUN_STATUS, self._liveness.points())
        for signal, points in self._gpus.points().items():
            metrics.set_own(signal, points)
        self._refresh_progress()
        self._refresh_delivery()

    def _refresh_progress(self) -> None:
        metrics = self._metrics
        newest_ns = metrics.state.last_ns
        unread = metrics.reader.unread_bytes()
        metrics.set_own(own.UNREAD, {(): float(unread)})
        metrics.set_own(own.READ_ERRORS, {(): float(metrics.reader.read_errors)})
        now = time.monotonic()
        if not unread:
            self._caught_up_at = now
        if newest_ns:
            metrics.set_own(own.LAST_RECORD, {(): newest_ns / 1e9})
        if newest_ns or unread:
            # The age of the newest line that was read, by the clock of whoever wrote it, which may be ahead of ours.
            age_s = time.time() - newest_ns / 1e9 if newest_ns else 0.0
            metrics.set_own(own.LAG, {(): max(age_s, now - self._caught_up_at, LEAST_LAG_S) if unread else 0.0})

    def _refresh_delivery(self) -> None:
        metrics = self._metrics
        accounts = [account for pipeline in self._pipelines.values() for account in pipeline.accounts]
        if accounts:
            metrics.set_own(own.EXPORTED, {(account.signal,): float(account.exported) for account in accounts})
            metrics.set_own(own.EXPORT_FAILURES, {(account.signal,): float(account.failed) for account in accounts})
            metrics.set_own(own.REFUSED, {(account.signal,): float(account.refused) for account in accounts})
        together: dict[own.OwnSignal, dict[tuple[str, ...], float]] = {own.LEFT_OUT: {}}  # none of a stored state
        if metrics.summarised_points is not None:
            together[own.LEFT_OUT] = {("metrics",): float(metrics.summarised_points)}
        for pipeline in self._pipelines.values():
            for signal, points in pipeline.points().items():
                together.setdefault(signal, {}).update(points)
        for signal, gathered in together.items():
            metrics.set_own(signal, gathered)
