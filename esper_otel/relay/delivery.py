"""The pipeline from the log to OTLP: spans and log events, delivered before the position moves on.

It has a position of its own, so that an endpoint that is down for hours holds up nothing but itself: the log is the
queue. Delivery is at least once; span ids and ``esper.event.id`` are derived from the log, so that what a kill between
delivery and checkpoint sends again is recognisable as the same.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from opentelemetry.sdk.resources import Resource

from esper_otel.events import Event
from esper_otel.log.duplicates import DUPLICATE
from esper_otel.log.envelope import Record
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say
from esper_otel.relay.handover import Handover, LineFeed
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.log_events import LogEventProjector
from esper_otel.relay.otlp import Exporters
from esper_otel.relay.otlp_delivery import SignalExporter
from esper_otel.relay.traces import TraceProjector

CHECKPOINT: Final = "delivery"
BATCH: Final = 500
"""Lines that are taken at a time."""

REQUEST_SPANS: Final = 500
REQUEST_LOG_BYTES: Final = 3 * 1024 * 1024
"""Most that one request holds: gRPC receivers take 4 MiB by default."""

ENOUGH_LOG_BYTES: Final = 2 * 1024 * 1024
"""Log events that are sent without looking for more: each request costs half a millisecond, however small."""

DELAY_S: Final = 1.0
"""How long what is less than a request waits for more to be sent with it, as in OpenTelemetry's batch processors."""

IDLE_S: Final = 0.1
QUIET_S: Final = 3.0
"""Silence after which a round whose batch is complete counts as complete itself: late events follow within 2 s."""

KEPT_NOTES: Final = 1_000
"""Events of the relay itself that wait for an endpoint that is down."""

STORE_S: Final = 0.25
"""How often the position is stored while lines arrive: what a kill in between sends again has the same ids."""

LONGEST_CALL_S: Final = 15.0
"""Time after which a call without an answer is said: an endpoint that answers a byte at a time never ends it."""

FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 15.0


class DeliveryPipeline:
    """Follows the log in a thread of its own and delivers spans and log events."""

    def __init__(
        self,
        path: Path,
        *,
        run_id: str,
        resource: Resource,
        exporters: Exporters,
        follow: bool,
        directory: StateDirectory | None,
        handover: Handover | None = None,
    ) -> None:
        """Go on from the stored position in ``directory``, else begin at the start; lines come by ``handover`` at best.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self._exporters = exporters
        self._directory = directory
        self._traces = TraceProjector(run_id, resource)
        self._logs = LogEventProjector(run_id)
        stored = directory.load(CHECKPOINT) if directory else None
        if stored is not None:
            try:
                self._traces.restore(stored["traces"])
            except Exception as error:  # whatever is wrong with it, the log can give it again
                say(f"the stored delivery is unusable ({error}); delivering the log anew")
                stored, self._traces = None, TraceProjector(run_id, resource)
        self.feed = LineFeed(path, follow=follow, stored=stored, handover=handover)
        self._run_id = run_id
        self._notes: deque[tuple[Event, int]] = deque(maxlen=KEPT_NOTES)
        self._noted = 0
        self._stop = threading.Event()
        self._is_finishing = threading.Event()
        self._is_over = False
        self._stored_at = time.monotonic()
        self._unstored_since: float | None = None
        self._spans: list[Any] = []
        self._log_events: list[bytes] = []
        self._log_bytes = 0
        self._is_drained = threading.Event()
        self._thread = threading.Thread(target=self._run, name="esper-delivery", daemon=True)

    @property
    def cut_spans(self) -> int:
        """Spans left out because their trace was full."""
        return self._traces.dropped

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def note(self, event: Event) -> None:
        """Send an event that the relay itself noticed as a log event; it stands in no log. Safe from any thread."""
        self._notes.append((event, time.time_ns()))

    def finish(self, timeout_s: float, *, is_over: bool) -> bool:
        """Deliver what the log still holds; whether all of it went out within ``timeout_s``.

        ``is_over``: the run has ended, so that spans still open are closed; else a later relay goes on with them.
        """
        self._is_over = is_over
        self._is_finishing.set()
        done = self._is_drained.wait(timeout_s)
        self._stop.set()
        self._exporters.stop()
        self._thread.join(timeout=5)
        self.feed.close()
        return done

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # the scrape goes on without delivery; silence would look like a healthy endpoint
            say(f"OTLP delivery broke down ({type(error).__name__}: {error}); its position is kept for a new relay")

    def _follow(self) -> None:
        quiet_since = time.monotonic()
        while not self._stop.is_set():
            is_finishing = self._is_finishing.is_set()  # looked at once: what is read after it decides
            if is_finishing:
                self.feed.finish()
            self._deliver_notes()
            lines = self.feed.read(BATCH)
            if lines:
                self._project(lines)
                quiet_since = time.monotonic()
            is_enough = (is_finishing and not lines) or not self._is_short_of_a_request()
            if is_enough and not self._deliver(is_at_rest=not lines):
                return
            if lines:
                continue
            if is_finishing:
                self._deliver_end()
                return
            if self._unstored_since is None and time.monotonic() - quiet_since > QUIET_S:
                self._deliver_flushed()
            self.feed.wait(self._stop, IDLE_S)
        self._store_rest()

    def _deliver_end(self) -> None:
        spans = self._traces.close() if self._is_over else self._traces.flush()
        if self._send(spans, []):
            self._store()
            self._is_drained.set()

    def _project(self, lines: Sequence[Ingested]) -> None:
        """Make spans and log events of ``lines``, to be delivered with those that already wait."""
        spans, logs = self._spans, self._log_events
        before = len(logs)
        for line in lines:
            if line.record is None or line.reason == DUPLICATE:
                continue
            spans += self._traces.feed(line.record, line.events)
            if self._exporters.logs is not None:
                context = self._traces.trace_context(line.record)
                logs += self._logs.project(line.record, line.events, context, line.reason)
        self._log_bytes += sum(map(len, logs[before:]))
        if self._unstored_since is None:
            self._unstored_since = time.monotonic()

    def _is_short_of_a_request(self) -> bool:
        """Whether to look for more lines first; not for long."""
        is_due = self._unstored_since is not None and time.monotonic() - self._unstored_since > DELAY_S
        return self._log_bytes < ENOUGH_LOG_BYTES and len(self._spans) < REQUEST_SPANS and not is_due

    def _deliver(self, *, is_at_rest: bool) -> bool:
        """Deliver what waits; False when stopped before it was done.

        The position behind it is stored, while lines keep coming only now and then.
        """
        spans, logs = self._spans, self._log_events
        self._spans, self._log_events, self._log_bytes = [], [], 0
        if not self._send(spans, logs):
            return False  # the stored position lies in front of them: a later relay sends them
        if is_at_rest or time.monotonic() - self._stored_at > STORE_S:
            self._store_rest()
        return True

    def _deliver_notes(self) -> None:
        logs: list[Any] = []
        while self._notes:
            event, at_ns = self._notes.popleft()
            self._noted += 1
            record = Record(
                event_id=f"{self._run_id}-relay-{self._noted}",
                event_type=event.event_type,
                timestamp_ns=at_ns,
                run_id=self._run_id,
                severity=event.severity.value,
            )
            logs += self._logs.project(record, (event,), self._traces.trace_context(record), None)
        self._send([], logs)

    def _deliver_flushed(self) -> None:
        spans = self._traces.flush()
        if spans and self._send(spans, []):
            self._store()

    def _send(self, spans: list[Any], logs: list[Any]) -> bool:
        """Deliver spans and log events, several requests where they are many; whether all went out."""
        of_spans = (spans[at : at + REQUEST_SPANS] for at in range(0, len(spans), REQUEST_SPANS))
        return all(self._until_delivered(self._exporters.traces, batch) for batch in of_spans) and all(
            self._until_delivered(self._exporters.logs, batch) for batch in parts_of(logs, REQUEST_LOG_BYTES)
        )

    def _until_delivered(self, exporter: SignalExporter | None, batch: list[Any]) -> bool:
        if exporter is None or not batch:
            return True
        pause_s = FIRST_RETRY_S
        said = False
        while not exporter.export(batch, LONGEST_CALL_S):
            if self._stop.is_set():
                return False
            if not said:
                say(f"{exporter.signal} wait for the endpoint: {exporter.last_error}")
                said = True
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)
        if said:
            say(f"{exporter.signal} are delivered again")
        return True

    def _store_rest(self) -> None:
        """Store the position unless it is behind what was not delivered."""
        if self._unstored_since is not None and not (self._spans or self._log_events):
            self._store()

    def _store(self) -> None:
        self._stored_at, self._unstored_since = time.monotonic(), None
        if self._directory is None:
            return
        content = {
            **self.feed.state,
            "traces": self._traces.snapshot(),
        }
        self._directory.save(CHECKPOINT, content)


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
