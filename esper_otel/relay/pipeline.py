"""The interface of an exporter in the relay: a pipeline from the log, or from the metric state, to one destination.

To add an exporter, write a module with a factory and add the factory to ``PIPELINES`` in
:mod:`esper_otel.relay.parts`. A pipeline that reads the log derives from
:class:`esper_otel.relay.following.Following`, which brings the thread, the loop and the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
from opentelemetry.sdk.resources import Resource

from esper_otel.events import Event
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.metrics.pipeline import MetricsPipeline
from esper_otel.relay.options import ALL_LOGS, AlertOptions, LogOptions
from esper_otel.relay.traces.conventions import Conventions
from esper_otel.signals.own_signal import OwnSignal

Points = Mapping[tuple[str, ...], float]
"""Values of a metric by the values of its attributes."""


class Account(Protocol):
    """Counters of one signal, in items: spans, log records, data points, rows.

    Attributes:
        signal: name of the signal in the relay's own metrics.
        exported: items that the destination accepted.
        failed: items of failed attempts; most of them are retried.
        refused: items that the destination permanently rejected.
        last_error: the last failure as text, empty if there was none.
    """

    @property
    def signal(self) -> str: ...  # noqa: D102
    @property
    def exported(self) -> int: ...  # noqa: D102
    @property
    def failed(self) -> int: ...  # noqa: D102
    @property
    def refused(self) -> int: ...  # noqa: D102
    @property
    def last_error(self) -> str: ...  # noqa: D102


class Exporter(Account, Protocol):
    """A sender of batches of one signal.

    Attributes:
        retry_after_s: time that the receiver asked to be left alone at the last attempt, in s; 0 where it did not.
    """

    retry_after_s: float

    def export(self, batch: Any, timeout_s: float | None = None) -> bool: ...  # noqa: D102
    def stop(self) -> None: ...  # noqa: D102


class Exporters(Protocol):
    """The senders configured by the environment, None for a signal that is not exported."""

    @property
    def traces(self) -> Exporter | None: ...  # noqa: D102
    @property
    def metrics(self) -> Exporter | None: ...  # noqa: D102
    @property
    def logs(self) -> Exporter | None: ...  # noqa: D102
    @property
    def is_delta(self) -> bool: ...  # noqa: D102
    @property
    def share_of_traces(self) -> float: ...  # noqa: D102
    @property
    def conventions(self) -> Conventions: ...  # noqa: D102
    def stop(self) -> None:
        """Cancel every running export; later ones return False."""


class Pipeline(Protocol):
    """An exporter of the relay.

    The service calls :meth:`start` once, :meth:`drain` when the run has ended, :meth:`resume` when it is continued
    after all, and :meth:`finish` at last, all from one thread.

    Attributes:
        destination: name of the receiver in messages.
        is_required: whether the relay fails (exit status 3) when the destination did not accept everything.
    """

    destination: ClassVar[str]
    is_required: ClassVar[bool]

    @property
    def accounts(self) -> Sequence[Account]:
        """The counters, one for each signal that is exported."""
        ...

    def start(self) -> None:
        """Start exporting in a separate thread."""
        ...

    def drain(self, *, is_over: bool) -> None:
        """Export the rest of the log as its end; returns at once.

        ``is_over``: the run has ended, so that what is open is closed; else a later relay goes on with it.
        """
        ...

    @property
    def is_at_rest(self) -> bool:
        """True if nothing more happens after :meth:`drain`, delivered or not."""
        ...

    @property
    def has_failed(self) -> bool:
        """True if an error ended the export; it was reported then."""
        ...

    @property
    def has_delivered(self) -> bool:
        """True if everything up to the last :meth:`drain` was exported."""
        ...

    def resume(self) -> bool:
        """Resume after :meth:`drain`: the run continues. False if a new pipeline must replace it."""
        ...

    def finish(self, timeout_s: float) -> bool:
        """Wait until everything was exported, ``timeout_s`` at most, and stop; returns True if it was."""
        ...

    def describe(self) -> str:
        """One line for the console, without secrets: what is sent, and the destination; empty: nothing to report."""
        return ""

    def points(self) -> Mapping[OwnSignal, Points]:
        """Values of additional metrics of the relay."""
        return {}

    def note(self, event: Event) -> None:
        """Export an event detected by the relay itself, which is not in the log. Thread-safe."""
        return

    def replayed(self, until_ns: int) -> None:
        """Record that a finished log was replayed up to ``until_ns``, Unix time of its own events."""
        return


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments for the factories of pipelines.

    Attributes:
        path: run directory, log file or telemetry directory.
        run_id: name of the run.
        own_id: the same where every line belongs to it whatever the line says, in a run directory of ours; else None.
        follows: whether this relay reads the log of a rank.
        follow: whether the log grows.
        drain_s: time that the end may take, in s.
        directory: directory of stored positions, None where none is kept.
        resource: OpenTelemetry's resource of the run.
        exporters: exporters over OTLP that the environment asks for.
        metrics: the metric state and the lines read so far.
        run_directory: directory of the run, where our writer made it; else None.
        alerts: alerts that the relay raises itself; None for none.
        archive: address of the archive that the run goes into; empty for none.
        logs: the log events that are sent.
        now_ns: the present as the metrics see it, Unix time: the clock while following, the log's own while replaying.
    """

    path: Path
    run_id: str
    own_id: str | None = None
    follows: Callable[[int], bool] | None = None
    follow: bool
    drain_s: float
    directory: StateDirectory | None
    resource: Resource
    exporters: Exporters
    metrics: MetricsPipeline
    now_ns: Callable[[], int]
    run_directory: Path | None = None
    alerts: AlertOptions | None = None
    archive: str = ""
    logs: LogOptions = ALL_LOGS


class Registration(msgspec.Struct, frozen=True):
    """An entry of the list of pipelines.

    Attributes:
        make: builds the pipeline, None when the environment does not ask for it. May raise ``ValueError`` for a
            variable that it does not understand and ``FileNotFoundError`` where there is nothing to read.
        checkpoint: name of its stored position, empty when it keeps none.
    """

    make: Callable[[Context], Pipeline | None]
    checkpoint: str = ""
