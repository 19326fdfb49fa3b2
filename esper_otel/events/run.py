"""The run itself, and what the telemetry layer says about its own work."""

from typing import Annotated

from esper_otel.events.declare import Domain, Event, Severity, counter, declares, gauge, note, timestamp


@declares(
    "RUN_ENDED",
    domain=Domain.ESPER,
    metrics=(
        counter(
            "esper.run_ends",
            unit="{end}",
            attributes=("outcome",),
            description="Ends of training processes by outcome.",
        ),
    ),
)
class RunEnded(Event, frozen=True, kw_only=True):
    """The training process ended, or was found dead."""

    outcome: Annotated[str, note("finished, failed, interrupted or died.")]
    detail: Annotated[str | None, note("What ended it, in words.")] = None
    rounds: Annotated[int | None, note("Rounds completed.")] = None
    duration_s: Annotated[float | None, note("Length of the run, s.", gauge("esper.run_length", unit="s"))] = None
    reported_by: Annotated[str | None, note("Who says so: trainer or relay.")] = None


@declares(
    "HEARTBEAT",
    domain=Domain.ESPER,
    severity=Severity.DEBUG,
    metrics=(
        timestamp(
            "esper.last_heartbeat.timestamp",
            description="When the training process last showed that it lives, Unix time.",
        ),
    ),
)
class Heartbeat(Event, frozen=True, kw_only=True):
    """The training process lives and its event log works."""

    uptime_s: Annotated[
        float | None, note("Time since the log was opened, s.", gauge("esper.log.uptime", unit="s"))
    ] = None
    emitted_events: Annotated[int | None, note("Events emitted so far.", gauge("esper.log.emitted_events"))] = None
    pending_events: Annotated[int | None, note("Events not yet written.", gauge("esper.log.pending_events"))] = None
    pending_bytes: Annotated[
        int | None, note("Encoded bytes not yet written.", gauge("esper.log.pending_size", unit="By"))
    ] = None
    written_bytes: Annotated[int | None, note("Bytes written so far.", gauge("esper.log.written_size", unit="By"))] = (
        None
    )
    write_time_ms: Annotated[
        float | None,
        note("Longest write since the last heartbeat, ms.", gauge("esper.log.max_write_time", unit="s", scale=1e-3)),
    ] = None


@declares("TELEMETRY_LOSS", domain=Domain.ESPER, severity=Severity.ERROR)
class TelemetryLoss(Event, frozen=True, kw_only=True):
    """Events, or parts of them, that the log had to leave out since the last such report."""

    reason: Annotated[str, note("Why: buffer_full, write_failed, unencodable, or hub_queue_full in esper-lite's hub.")]
    count: Annotated[int, note("Events, or fields, left out.", counter("esper.log.lost_events", unit="{event}"))]
    detail: Annotated[str | None, note("First cause in words.")] = None
