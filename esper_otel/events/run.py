"""The run itself, and the telemetry layer's reports on its own work."""

from typing import Annotated

from esper_otel.events.declare import Domain, Event, Severity, counter, declares, gauge, note, timestamp
from esper_otel.events.types import Flag, Real, Text, Whole


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
    detail: Annotated[Text, note("Cause of the end as text.")] = None
    rounds: Annotated[Whole, note("Rounds completed.")] = None
    duration_s: Annotated[Real, note("Length of the run, s.", gauge("esper.run_length", unit="s"))] = None
    reported_by: Annotated[Text, note("Reporter: trainer or relay.")] = None


@declares(
    "HEARTBEAT",
    domain=Domain.ESPER,
    severity=Severity.DEBUG,
    metrics=(
        timestamp(
            "esper.last_heartbeat.timestamp",
            description="Unix time of the training process's last sign of life.",
        ),
    ),
)
class Heartbeat(Event, frozen=True, kw_only=True):
    """The training process is alive and its event log works."""

    uptime_s: Annotated[Real, note("Time since the log was opened, s.", gauge("esper.log.uptime", unit="s"))] = None
    emitted_events: Annotated[Whole, note("Events emitted so far.", gauge("esper.log.emitted_events"))] = None
    pending_events: Annotated[Whole, note("Events not yet written.", gauge("esper.log.pending_events"))] = None
    pending_bytes: Annotated[
        Whole, note("Encoded bytes not yet written.", gauge("esper.log.pending_size", unit="By"))
    ] = None
    written_bytes: Annotated[Whole, note("Bytes written so far.", gauge("esper.log.written_size", unit="By"))] = None
    write_time_ms: Annotated[
        Real,
        note("Longest write since the last heartbeat, ms.", gauge("esper.log.max_write_time", unit="s", scale=1e-3)),
    ] = None


@declares("RANK_STOPPED", domain=Domain.ESPER, severity=Severity.ERROR)
class RankStopped(Event, frozen=True, kw_only=True):
    """A rank has stopped while its process lives: the relay reports it, it is in no log."""

    stopped_rank: Annotated[Whole, note("The rank.")] = None
    quiet_s: Annotated[Real, note("Time without a sign of life, or without progress, s.")] = None
    phase: Annotated[Text, note("Phase of the step that its main thread was in, by its stack.")] = None
    stack: Annotated[Text, note("Frames of its main thread, the innermost first, one a line.")] = None
    pid: Annotated[Whole, note("Its process.")] = None
    host: Annotated[Text, note("Machine or container on which it runs.")] = None
    detail: Annotated[Text, note("What was seen, as text.")] = None


@declares("EVENT_DECLARED", domain=Domain.ESPER, severity=Severity.DEBUG)
class EventDeclared(Event, frozen=True, kw_only=True):
    """Declaration of an event class of a user's own, before its first event: with it the log describes itself."""

    declared: Annotated[str, note("Event type that it declares.")]
    declaration: Annotated[str, note("Fields, metrics and attributes of the class, as JSON text.")]


@declares("LOG_EVENTS_REDUCED", domain=Domain.ESPER)
class LogEventsReduced(Event, frozen=True, kw_only=True):
    """The relay leaves out log events, by ``ESPER_OTEL_LOGS``: it reports so first, it is in no log."""

    kept: Annotated[str, note("warnings or sampled.")]
    every: Annotated[Whole, note("With sampled: rounds of which one is sent whole.")] = None
    command: Annotated[Text, note("Command that shows the events whose log events may be left out.")] = None


@declares("FINDING", domain=Domain.ESPER, severity=Severity.WARNING)
class FindingReported(Event, frozen=True, kw_only=True):
    """The relay diagnosed the run while it followed it (``--alerts``), and found this for the first time."""

    kind: Annotated[str, note("Kind of the finding, for instance exploding_gradients.")]
    grade: Annotated[str, note("critical, warning or info.")]
    sentence: Annotated[str, note("The verdict in one sentence.")]
    alert: Annotated[Text, note("Alert about the same, and its entry in the runbook.")] = None
    confidence: Annotated[Text, note("certain, high or medium.")] = None
    who: Annotated[dict[str, str] | None, note("Rank, environment, head, model, seed or blueprint, by name.")] = None
    occurred: Annotated[Text, note("Time, round, update or episode, for people.")] = None
    evidence: Annotated[Text, note("The measurements behind it, for people.")] = None
    cause: Annotated[Text, note("The cause, where the log tells it.")] = None
    meaning: Annotated[Text, note("Meaning for the run.")] = None
    next_step: Annotated[Text, note("Advice.")] = None
    query: Annotated[Text, note("SQL that shows the events behind it.")] = None
    session: Annotated[Text, note("Start of the training process that it is about.")] = None
    stops: Annotated[Flag, note("Whether esper_otel.should_stop() says so to a trainer.")] = None


@declares("TELEMETRY_LOSS", domain=Domain.ESPER, severity=Severity.ERROR)
class TelemetryLoss(Event, frozen=True, kw_only=True):
    """Events, or parts of them, that the log had to drop since the previous such report."""

    reason: Annotated[
        str, note("Reason: buffer_full, write_failed, unencodable, child_process, or esper-lite's hub_queue_full.")
    ]
    count: Annotated[int, note("Events, or fields, dropped.", counter("esper.log.lost_events", unit="{event}"))]
    detail: Annotated[Text, note("First cause as text.")] = None
