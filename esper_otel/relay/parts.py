"""All parts of a relay for one path of the run; a renamed run gets new ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from esper_otel.events import Event
from esper_otel.relay.alerts import pipeline as alerts
from esper_otel.relay.alerts import setup as alerts_setup
from esper_otel.relay.archive import setup as archive_setup
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say
from esper_otel.relay.gpu.processes import run_pids
from esper_otel.relay.gpu.sampler import NvmlSampler
from esper_otel.relay.lifecycle.node import NodeRanks, all_ranks
from esper_otel.relay.lifecycle.place import Place
from esper_otel.relay.lifecycle.stopped import StoppedRanks
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics import pipeline as metrics_pipeline
from esper_otel.relay.metrics.pipeline import MetricsPipeline
from esper_otel.relay.options import SUMMARY, Options, resource_defaults, state_directory_of, subject_of
from esper_otel.relay.otlp import metrics_export
from esper_otel.relay.otlp import pipeline as delivery
from esper_otel.relay.otlp.exporters import Exporters, resource_from_env
from esper_otel.relay.otlp.log_choice import resource_of_logs
from esper_otel.relay.own_metrics import OwnMetrics
from esper_otel.relay.pipeline import Context, Pipeline, Registration
from esper_otel.relay.presence import Presence
from esper_otel.relay.wandb import pipeline as wandb
from esper_otel.relay.wandb import setup as wandb_setup

PIPELINES: Final = (
    Registration(metrics_export.make, metrics_export.CHECKPOINT),
    Registration(delivery.make_traces, delivery.SpanDelivery.CHECKPOINT),
    Registration(delivery.make_logs, delivery.LogDelivery.CHECKPOINT),
    Registration(wandb_setup.make, wandb.CHECKPOINT),
    Registration(alerts_setup.make, alerts.CHECKPOINT),
    Registration(archive_setup.make),
)
"""The exporters of the relay; a new one is a module and a line here."""


class Parts:
    """The parts of one relay.

    Attributes:
        subject: the run.
        follows: whether this relay reads the log of a rank.
        directory: its stored state, None where none is kept.
        resource: OpenTelemetry's resource of the run.
        exporters: exporters over OTLP.
        liveness: the state of the run.
        gpus: sampler of the GPUs.
        metrics: the log and the metric state.
        pipelines: the exporters that the environment asks for.
        presence: what others learn of the relay.
        own: metrics of the relay's own.
        place: where the run lies, None for what is no growing run directory.
    """

    def __init__(self, options: Options, now_ns: Callable[[], int], place: Place | None = None) -> None:
        """Open everything that can fail; see :class:`esper_otel.relay.service.Relay`.

        ``now_ns``: the present as the metrics see it. ``place``: where the run lies, if it was renamed.
        """
        self._options = options
        self._now_ns = now_ns
        self.subject = subject_of(options)
        self.follows = NodeRanks(self.subject.directory) if options.of_node and self.subject.directory else all_ranks
        is_held = self.subject.directory is not None and options.follow
        self.place = place or (Place(self.subject.directory) if is_held and self.subject.directory else None)
        self.directory = self._open_state(state_directory_of(options, self.subject))
        self.resource = resource_from_env(
            resource_defaults(self.subject.run_id, is_first=self.follows(0), directory=self.subject.directory)
        )
        self.exporters = Exporters.from_env(self.resource, resource_of_logs(options.logs))
        self.liveness = Liveness(
            self.subject.directory if self.subject.is_ours else None,
            stall_after_s=options.stall_after_s,
            parent_pid=options.parent_pid,
            follows=self.follows,
        )
        self.stopped = StoppedRanks(
            self.subject.directory if is_held and self.subject.is_ours else None,
            self.liveness.stopped,
            note=self._note,
            environ=os.environ,
        )
        self.gpus = NvmlSampler(
            environ=os.environ, own_pids=lambda: run_pids(self.subject.directory), say=say, on_xid=self._note
        )
        self.metrics = MetricsPipeline(
            options.run,
            run_id=self.subject.run_id,
            follow=options.follow,
            directory=self.directory,
            liveness=self.liveness,
            watch=self.gpus.ledger.observe,
            own_id=self._own_id,
            follows=self.follows,
            is_summary=options.metrics == SUMMARY,
        )
        self.pipelines = self._make_pipelines()
        self.presence = Presence(
            self.subject, self.resource, is_first=self.follows(0), logs=options.logs, metrics=options.metrics
        )
        self.own = OwnMetrics(self.metrics, liveness=self.liveness, gpus=self.gpus, pipelines=self.pipelines)

    def start(self) -> None:
        """Start exporting, after a line about each destination, and querying the GPUs if the run is live."""
        otlp = [self.exporters.describe()] if self.exporters.active else []
        described = filter(None, (pipeline.describe() for pipeline in self.pipelines.values()))
        for line in (*self.exporters.problems, *self.exporters.notes, *otlp, *described):
            say(line)
        if self._options.follow:
            self.gpus.start()
        for pipeline in self.pipelines.values():
            pipeline.start()

    def resume(self) -> None:
        """Resume every pipeline after it was drained; a failed one is recreated."""
        for entry, pipeline in self.pipelines.items():
            if not pipeline.resume() and (anew := entry.make(self._context())) is not None:
                self.pipelines[entry] = anew
                anew.start()

    @property
    def is_over(self) -> bool:
        """Return True if the run's own log or its locks show that it is over; those of esper-lite never do."""
        return self.subject.is_ours and self.liveness.has_ended

    def look(self) -> None:
        """Look at the locks of the ranks, and for ranks that stopped."""
        self.liveness.look()
        self.stopped.look()

    def moved(self) -> Path | None:
        """The new directory of a run that was renamed; None while it is where it was, or gone."""
        return self.place.moved() if self.place is not None else None

    def leave(self) -> Place | None:
        """Stop exporting and store everything where the run lies now, which is returned."""
        place, self.place = self.place, None
        if self.directory is not None and place is not None and (moved := place.moved()) is not None:
            self.directory.move(moved)
        for pipeline in self.pipelines.values():
            pipeline.drain(is_over=False)
        for pipeline in self.pipelines.values():
            pipeline.finish(LEAVE_S)
        self.close()
        return place

    def close(self) -> None:
        """Store what can be stored and close everything."""
        self.presence.withdraw()
        self.gpus.stop()
        self.exporters.stop()
        self.metrics.close()
        if self.directory is not None:
            self.directory.close()
        if self.place is not None:
            self.place.close()

    def _open_state(self, path: Path | None) -> StateDirectory | None:
        if path is None or self.moved() is not None:  # renamed once more: it is not made anew under the old name
            return None
        try:
            directory = StateDirectory(path, wait_s=self._options.wait_s)
        except OSError as error:
            say(f"no state is stored, {path} cannot be written ({error}); a restart begins at the start of the log")
            return None
        if self._options.from_start:
            stored = (entry.checkpoint for entry in PIPELINES if entry.checkpoint)
            for name in (metrics_pipeline.CHECKPOINT, delivery.FORMER_CHECKPOINT, *stored):
                directory.forget(name)
        return directory

    @property
    def _own_id(self) -> str | None:
        """The run that every line belongs to: its directory may not report on another run."""
        return self.subject.run_id if self.subject.is_ours else None

    def _make_pipelines(self) -> dict[Registration, Pipeline]:
        context = self._context()
        made = {entry: entry.make(context) for entry in PIPELINES}
        return {entry: pipeline for entry, pipeline in made.items() if pipeline is not None}

    def _context(self) -> Context:
        return Context(
            path=self._options.run,
            run_id=self.subject.run_id,
            own_id=self._own_id,
            follows=self.follows,
            follow=self._options.follow,
            drain_s=self._options.drain_s,
            directory=self.directory,
            resource=self.resource,
            exporters=self.exporters,
            metrics=self.metrics,
            now_ns=self._now_ns,
            run_directory=self.subject.directory if self.subject.is_ours else None,
            alerts=self._options.alerts,
            archive=self._options.archive,
            logs=self._options.logs,
        )

    def _note(self, event: Event) -> None:
        for pipeline in self.pipelines.values():
            pipeline.note(event)


LEAVE_S: Final = 1.0
"""Time that a pipeline may take to end when the run was renamed; what it did not deliver it delivers again."""
