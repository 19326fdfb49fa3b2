"""The relay: one process that follows the log of a run and serves, sends and watches until the run is over."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

from esper_otel.relay import delivery, metrics_pipeline, wandb_pipeline
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say
from esper_otel.relay.delivery import DeliveryPipeline
from esper_otel.relay.endpoint import Endpoint, address_from_env
from esper_otel.relay.exposition import FamilyCollector, registry_of
from esper_otel.relay.families import Family
from esper_otel.relay.liveness import DIED, Liveness
from esper_otel.relay.metric_export import MetricExport, interval_from_env
from esper_otel.relay.metrics_pipeline import MetricsPipeline
from esper_otel.relay.nvml_sampler import NvmlSampler
from esper_otel.relay.options import Options, resource_defaults, state_directory_of, subject_of
from esper_otel.relay.otlp import Exporters, resource_from_env
from esper_otel.relay.own_metrics import OwnMetrics
from esper_otel.relay.presence import Presence
from esper_otel.relay.run_processes import run_pids
from esper_otel.relay.wandb_pipeline import WandbPipeline
from esper_otel.relay.wandb_setup import wandb_from_env

IDLE_S: Final = 0.05
"""Pause when the log has nothing new: half of the time from emit to scrape, at no measurable cost."""

TICK_S: Final = 0.5


class Relay:
    """One relay, from :meth:`run` to its end."""

    def __init__(self, options: Options) -> None:
        """Open everything that can fail.

        Raises:
            FileNotFoundError: there is no log.
            StateDirectoryBusyError: another relay works on the run.
            ValueError: an environment variable has a bad value.
            OSError: no port is free.
        """
        self._options = options
        self._subject = subject_of(options)
        self._directory = self._open_state(state_directory_of(options, self._subject))
        self._resource = resource_from_env(resource_defaults(self._subject.run_id))
        self._exporters = Exporters.from_env(self._resource)
        self._liveness = Liveness(
            self._subject.directory if self._subject.is_ours else None,
            stall_after_s=options.stall_after_s,
            parent_pid=options.parent_pid,
        )
        self._gpus = self._make_sampler()
        self._metrics = MetricsPipeline(
            options.run,
            run_id=self._subject.run_id,
            follow=options.follow,
            directory=self._directory,
            liveness=self._liveness,
            watch=self._gpus.ledger.observe,
        )
        self._delivery = self._make_delivery()
        self._wandb = self._make_wandb()
        self._metric_export = self._make_metric_export()
        self._presence = Presence(self._subject, self._resource)
        self._own = OwnMetrics(
            self._metrics,
            liveness=self._liveness,
            gpus=self._gpus,
            exporters=self._exporters,
            delivery=self._delivery,
            wandb=self._wandb,
        )
        self._endpoint: Endpoint | None = None
        self._stop = threading.Event()
        self._ticked_at = 0.0
        self._is_complete = False

    def stop(self) -> None:
        """End soon: what is at hand is delivered, the position stored."""
        self._stop.set()

    def run(self) -> int:
        """Work until the run is over; the exit status."""
        self._catch_up()
        self._open_endpoint()
        self._presence.announce(self._endpoint, self._exporters)
        if self._options.follow:
            self._gpus.start()
        if self._delivery is not None:
            self._delivery.start()
        if self._wandb is not None:
            self._wandb.start()
        if self._metric_export is not None and self._options.follow:
            self._metric_export.start()
        try:
            self._work()
            delivered = self._finish()
        finally:
            self._close()
        return 0 if delivered else 3

    # Setting up

    def _open_state(self, path: Path | None) -> StateDirectory | None:
        if path is None:
            return None
        try:
            directory = StateDirectory(path)
        except OSError as error:
            say(f"no state is kept, {path} cannot be written ({error}); a restart begins at the start of the log")
            return None
        if self._options.from_start:
            for name in (metrics_pipeline.CHECKPOINT, delivery.CHECKPOINT, wandb_pipeline.CHECKPOINT):
                (path / f"{name}.json").unlink(missing_ok=True)
        return directory

    def _make_delivery(self) -> DeliveryPipeline | None:
        if self._exporters.traces is None and self._exporters.logs is None:
            return None
        return DeliveryPipeline(
            self._options.run,
            run_id=self._subject.run_id,
            resource=self._resource,
            exporters=self._exporters,
            follow=self._options.follow,
            directory=self._directory,
            handover=self._metrics.hand_over(),
        )

    def _make_wandb(self) -> WandbPipeline | None:
        options = self._options
        return wandb_from_env(
            options.run,
            run_id=self._subject.run_id,
            follow=options.follow,
            directory=self._directory,
            drain_s=options.drain_s,
        )

    def _make_sampler(self) -> NvmlSampler:
        return NvmlSampler(
            environ=os.environ,
            own_pids=lambda: run_pids(self._subject.directory),
            say=say,
            on_xid=lambda error: self._delivery.note(error) if self._delivery is not None else None,
        )

    def _make_metric_export(self) -> MetricExport | None:
        interval_s = interval_from_env()
        if self._exporters.metrics is None:
            return None
        return MetricExport(
            self._exporters.metrics,
            self._resource,
            self._metrics.collect,
            lambda: self._metrics.state.started_ns,
            interval_s,
        )

    def _catch_up(self) -> None:
        """Read what is already there before anything is served, so that counters never go back after a restart."""
        if self._options.follow:
            deadline = time.monotonic() + 60
            while self._metrics.step() and time.monotonic() < deadline:
                pass

    def _open_endpoint(self) -> None:
        names = [part.strip() for part in (os.environ.get("OTEL_METRICS_EXPORTER") or "prometheus").split(",")]
        if "prometheus" not in names:
            return
        host, port = address_from_env()
        collector = FamilyCollector(
            self._collect_now, {name: str(value) for name, value in self._resource.attributes.items()}
        )
        self._endpoint = Endpoint(registry_of(collector), host, port)

    # Working

    def _work(self) -> None:
        exported_ns = 0
        last_line_at = time.monotonic()
        while not self._stop.is_set():
            lines = self._metrics.step()
            self._tick()
            if lines:
                last_line_at = time.monotonic()
                if not self._options.follow:
                    exported_ns = self._export_replayed(exported_ns)
            elif not self._options.follow or self._is_over(last_line_at):
                self._is_complete = True
                return
            else:
                self._stop.wait(IDLE_S)

    def _is_over(self, last_line_at: float) -> bool:
        """Whether a followed run has ended; all of its log was read."""
        idle = self._options.idle_exit_s
        if idle is not None and time.monotonic() - last_line_at > idle and self._metrics.reader.has_begun:
            return True
        for rank in self._liveness.report_dead(self._seen):
            say(f"the training process of rank {rank} died without ending the run")
        return self._subject.is_ours and self._liveness.has_ended

    def _seen(self, rank: int) -> int:
        """The greatest number of an event of ``rank`` that this relay, or the one before it, has read."""
        stored = self._directory.greatest_seq(rank) if self._directory is not None else 0
        return max(stored, self._metrics.greatest_seq(rank))

    def _export_replayed(self, exported_ns: int) -> int:
        """While replaying, export the metrics as they were at each interval of the log's own time."""
        state = self._metrics.state
        export = self._metric_export
        if export is None or state.last_ns - exported_ns < export.interval_s * 1e9:
            return exported_ns
        export.export(state.last_ns)
        return state.last_ns

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._ticked_at < TICK_S:
            return
        self._ticked_at = now
        self._own.refresh()

    def _collect_now(self) -> list[Family]:
        now_ns = time.time_ns() if self._options.follow else self._metrics.state.last_ns
        return self._metrics.collect(now_ns)

    # Ending

    def _finish(self) -> bool:
        """Deliver what is left; whether all of it went out."""
        self._drain_metrics()
        self._own.refresh()
        self._metrics.store()
        is_hurried = self._stop.is_set()
        drain_s = min(self._options.drain_s, 5.0) if is_hurried else self._options.drain_s
        if self._liveness.state == DIED:
            self._presence.record_end(DIED, self._metrics.state.last_ns)
        delivered = self._deliver_rest(drain_s)
        if not delivered:
            say(
                f"the OTLP endpoint did not take everything within {drain_s:g} s; "
                f"'esper-otel relay {self._options.run}' delivers the rest"
            )
        if self._wandb is not None:
            self._wandb.finish(drain_s, is_over=self._is_complete)
        self._own.refresh()
        if not is_hurried and self._endpoint is not None and self._options.linger_s > 0:
            say(f"the run is over; {self._endpoint.url} stays for {self._options.linger_s:g} s")
            self._stop.wait(self._options.linger_s)
        return delivered

    def _drain_metrics(self) -> None:
        self._metrics.reader.finish()
        self._liveness.close()
        while self._metrics.step():
            pass

    def _deliver_rest(self, drain_s: float) -> bool:
        deadline = time.monotonic() + drain_s
        final_ns = time.time_ns() if self._options.follow else self._metrics.state.last_ns
        delivered = True
        if self._metric_export is not None:
            delivered = self._metric_export.finish(drain_s, final_ns)
        if self._delivery is not None:
            delivered = (
                self._delivery.finish(max(deadline - time.monotonic(), 1.0), is_over=self._is_complete) and delivered
            )
        return delivered

    def _close(self) -> None:
        self._presence.withdraw()
        if self._endpoint is not None:
            self._endpoint.close()
        self._gpus.stop()
        self._exporters.stop()
        self._metrics.close()
        if self._directory is not None:
            self._directory.close()
