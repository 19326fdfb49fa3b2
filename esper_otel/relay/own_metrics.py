"""The relay's metrics about the run, the GPUs and itself, gathered from where they are known."""

from __future__ import annotations

import time

from esper_otel.relay.delivery import DeliveryPipeline
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics_pipeline import MetricsPipeline
from esper_otel.relay.nvml_sampler import NvmlSampler
from esper_otel.relay.otlp import Exporters
from esper_otel.relay.otlp_delivery import SignalExporter
from esper_otel.relay.wandb_pipeline import WandbPipeline
from esper_otel.signals import own


class OwnMetrics:
    """Refreshes them; called a few times a second, never by a scrape."""

    def __init__(
        self,
        metrics: MetricsPipeline,
        *,
        liveness: Liveness,
        gpus: NvmlSampler,
        exporters: Exporters,
        delivery: DeliveryPipeline | None,
        wandb: WandbPipeline | None,
    ) -> None:
        """``metrics`` takes the points, the others give them."""
        self._metrics = metrics
        self._liveness = liveness
        self._gpus = gpus
        self._exporters = exporters
        self._delivery = delivery
        self._wandb = wandb

    def refresh(self) -> None:
        """Take everything as it is now."""
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
        if newest_ns:
            metrics.set_own(own.LAST_RECORD, {(): newest_ns / 1e9})
            metrics.set_own(own.LAG, {(): max(time.time() - newest_ns / 1e9, 0.0) if unread else 0.0})

    def _refresh_delivery(self) -> None:
        metrics = self._metrics
        active: list[SignalExporter | WandbPipeline] = list(self._exporters.active)
        if self._wandb is not None:
            active.append(self._wandb)
        if active:
            metrics.set_own(own.EXPORTED, {(exporter.signal,): float(exporter.exported) for exporter in active})
            metrics.set_own(own.EXPORT_FAILURES, {(exporter.signal,): float(exporter.failed) for exporter in active})
            metrics.set_own(own.REFUSED, {(exporter.signal,): float(exporter.refused) for exporter in active})
        if self._delivery is not None:
            metrics.set_own(own.UNDELIVERED, {(): float(self._delivery.feed.unread_bytes())})
            metrics.set_own(own.CUT_SPANS, {(): float(self._delivery.cut_spans)})
