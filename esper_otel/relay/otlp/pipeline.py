"""The pipelines from the log to OTLP: spans, and log events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from esper_otel.archive.address import address_of
from esper_otel.events import Event
from esper_otel.log.envelope import Record
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.otlp.delivery import Delivery
from esper_otel.relay.otlp.environment import is_sampled
from esper_otel.relay.otlp.log_choice import LogChoice
from esper_otel.relay.otlp.log_records import LogEventProjector
from esper_otel.relay.pipeline import Context, Exporter, Points
from esper_otel.relay.traces.projector import NO_CONTEXT
from esper_otel.relay.traces.state import SpanRef
from esper_otel.signals import own
from esper_otel.signals.own_signal import OwnSignal

FORMER_CHECKPOINT: Final = "delivery"
"""One position of both signals, as older versions stored it."""

REQUEST_SPANS: Final = 500
REQUEST_LOG_BYTES: Final = 3 * 1024 * 1024
"""Maximum size of a request: gRPC receivers accept 4 MiB by default."""

ENOUGH_LOG_BYTES: Final = 2 * 1024 * 1024
"""Log events that are sent without looking for more: each request costs half a millisecond, however small."""

KEPT_NOTES: Final = 1_000
"""Events of the relay itself that wait for an endpoint that is down."""


class SpanDelivery(Delivery):
    """Delivers spans."""

    CHECKPOINT = "traces"

    def __init__(self, path: Path, *, share: float = 1.0, **arguments: Any) -> None:
        """As :class:`Delivery`; ``share`` of the traces is sent."""
        super().__init__(path, **arguments)
        self._share = share

    def points(self) -> Mapping[OwnSignal, Points]:
        """Bytes that wait for delivery; spans left out because their trace was full."""
        return {**super().points(), own.CUT_SPANS: {(): float(self._traces.dropped)}}

    def _made_of(self, spans: list[Any]) -> list[Any]:
        if self._share == 1.0:
            return spans
        return [span for span in spans if is_sampled(span.context.trace_id, self._share)]

    def _made_of_line(self, line: Ingested, record: Record) -> list[Any]:
        return self._made_of(self._traces.feed(record, line.events))

    def _is_request(self) -> bool:
        return len(self._waiting) >= REQUEST_SPANS

    def _requests(self, items: list[Any]) -> Iterator[list[Any]]:
        return (items[at : at + REQUEST_SPANS] for at in range(0, len(items), REQUEST_SPANS))


class LogDelivery(Delivery):
    """Delivers log events. Traces are projected for their ids, which the log events name."""

    CHECKPOINT = "logs"

    def __init__(
        self, path: Path, *, run_id: str, share: float = 1.0, choice: LogChoice | None = None, **arguments: Any
    ) -> None:
        """As :class:`Delivery`; ``share`` of the traces is sent, and the log events of ``choice``, all without one."""
        self._choice = choice or LogChoice()
        super().__init__(path, run_id=run_id, **arguments)
        self._run_id = run_id
        self._logs = LogEventProjector(run_id, share)
        self._notes: deque[tuple[Event, int]] = deque(maxlen=KEPT_NOTES)
        self._noted = 0
        self._waiting_bytes = 0

    def note(self, event: Event) -> None:
        """Send an event that the relay itself noticed as a log event; it is in no log. Safe from any thread."""
        self._notes.append((event, time.time_ns()))

    def points(self) -> Mapping[OwnSignal, Points]:
        """Bytes that wait for delivery; log events left out, where some are."""
        points = dict(super().points())
        if not self._choice.is_all:
            points[own.LEFT_OUT] = {("logs",): float(self._choice.left_out)}
        return points

    def describe(self) -> str:
        """One line about what is left out."""
        return "" if self._choice.is_all else str(self._choice)

    def read(self) -> Sequence[Ingested] | None:
        """Return the next lines; notes of the relay's own go out first."""
        self._deliver_notes()
        return super().read()

    def _made_of(self, spans: list[Any]) -> list[Any]:
        return []

    def _made_of_line(self, line: Ingested, record: Record) -> list[Any]:
        self._traces.feed(record, line.events)
        made: list[Any] = []
        if (reduced := self._choice.announcement()) is not None:
            made += self._made_of_own(reduced, "logs", record.timestamp_ns, NO_CONTEXT)
        if self._choice.keeps(record, line.events, self._traces.lane(record)):
            made += self._logs.project(record, line.events, self._traces.trace_context(record), line.reason)
        self._waiting_bytes += sum(map(len, made))
        return made

    def _snapshot(self) -> dict[str, Any]:
        return {**super()._snapshot(), "choice": self._choice.snapshot()}

    def _restore(self, stored: dict[str, Any]) -> None:
        super()._restore(stored)
        self._choice.restore(stored.get("choice"))

    def _is_request(self) -> bool:
        return self._waiting_bytes >= ENOUGH_LOG_BYTES

    def _requests(self, items: list[Any]) -> Iterator[list[Any]]:
        self._waiting_bytes = 0
        return parts_of(items, REQUEST_LOG_BYTES)

    def _deliver_notes(self) -> None:
        logs: list[Any] = []
        while self._notes:
            event, at_ns = self._notes.popleft()
            self._noted += 1
            logs += self._made_of_own(event, str(self._noted), at_ns, None)
        if logs:
            waiting_bytes = self._waiting_bytes
            self._send(logs)
            self._waiting_bytes = waiting_bytes

    def _made_of_own(self, event: Event, name: str, at_ns: int, context: SpanRef | None) -> list[bytes]:
        """The log event of an event of the relay itself; ``context`` is its place, None for the present round."""
        record = Record(
            event_id=f"{self._run_id}-relay-{name}",
            event_type=event.event_type,
            timestamp_ns=at_ns,
            run_id=self._run_id,
            severity=event.severity.value,
        )
        return self._logs.project(record, (event,), context or self._traces.trace_context(record), None)


def parts_of(records: list[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    """``records`` in lists of at most ``most_bytes`` bytes; one that is longer stands alone."""
    begin = size = 0
    for at, record in enumerate(records):
        size += len(record)
        if size > most_bytes and at > begin:
            yield records[begin:at]
            begin, size = at, len(record)
    if records:
        yield records[begin:]


def make_traces(context: Context) -> SpanDelivery | None:
    """Build the delivery of spans where they are exported.

    Raises:
        FileNotFoundError: there is nothing to read and the log does not grow.
    """
    return _make(SpanDelivery, context, context.exporters.traces)


def make_logs(context: Context) -> LogDelivery | None:
    """Build the delivery of log events where they are exported.

    Raises:
        FileNotFoundError: there is nothing to read and the log does not grow.
    """
    run = str(address_of(context.archive).of(context.run_id)) if context.archive else str(context.path.absolute())
    return _make(LogDelivery, context, context.exporters.logs, choice=LogChoice(context.logs, run))


_D = TypeVar("_D", SpanDelivery, LogDelivery)


def _make(kind: type[_D], context: Context, exporter: Exporter | None, **more: Any) -> _D | None:
    if context.directory is not None:
        _take_over_former(context.directory)
    if exporter is None:
        return None
    return kind(
        context.path,
        run_id=context.run_id,
        resource=context.resource,
        exporter=exporter,
        follow=context.follow,
        directory=context.directory,
        handover=context.metrics.hand_over(),
        share=context.exporters.share_of_traces,
        own_id=context.own_id,
        follows=context.follows,
        conventions=context.exporters.conventions,
        **more,
    )


def _take_over_former(directory: StateDirectory) -> None:
    """Make one position for each signal of the common one that an older version stored."""
    stored = directory.load(FORMER_CHECKPOINT)
    if stored is None:
        return
    for name in (SpanDelivery.CHECKPOINT, LogDelivery.CHECKPOINT):
        if directory.load(name) is None:
            directory.save(name, stored)
    if all(directory.load(name) for name in (SpanDelivery.CHECKPOINT, LogDelivery.CHECKPOINT)):
        directory.forget(FORMER_CHECKPOINT)
