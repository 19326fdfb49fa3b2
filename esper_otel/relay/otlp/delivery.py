"""Delivery of one signal from the log by OTLP: data is delivered before the position advances.

Each signal has a position of its own, so that a receiver that is down for hours, or that does not take this signal,
holds up nothing else: the log is the queue. Delivery is at least once; span ids and ``esper.event.id`` are derived from
the log, so that what a kill between delivery and checkpoint sends again is recognisable as the same.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from opentelemetry.sdk.resources import Resource

from esper_otel.log.duplicates import DUPLICATE
from esper_otel.log.envelope import Record
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say, say_once
from esper_otel.relay.following import Following
from esper_otel.relay.handover import Handover, LineFeed
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.pipeline import Exporter, Points
from esper_otel.relay.traces import TraceProjector
from esper_otel.relay.traces.conventions import OURS, Conventions
from esper_otel.signals import own
from esper_otel.signals.own_signal import OwnSignal

BATCH: Final = 500
"""Maximum number of lines per step."""

DELAY_S: Final = 1.0
"""Time that a partial request waits to be filled, as in OpenTelemetry's batch processors."""

IDLE_S: Final = 0.1
QUIET_S: Final = 3.0
"""Silence after which a round whose batch is complete counts as complete itself: late events follow within 2 s."""

STORE_S: Final = 0.25
"""How often the position is stored while lines arrive: what a kill in between sends again has the same ids."""

LONGEST_CALL_S: Final = 15.0
"""Time after which a call without a response is reported: an endpoint that sends a byte at a time never ends it."""

FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 15.0

LONGEST_RETRY_AFTER_S: Final = 300.0
"""Longest wait that a receiver's ``Retry-After`` is granted: one with a wrong clock may name a date in years."""


class Delivery(Following):
    """Follows the log and delivers one signal.

    Attributes:
        CHECKPOINT: name of its stored position.
        feed: the lines of the log.
    """

    destination = "the OTLP endpoint"
    is_required = True
    CHECKPOINT: ClassVar[str]
    JOIN_S = 5.0

    def __init__(
        self,
        path: Path,
        *,
        run_id: str,
        resource: Resource,
        exporter: Exporter,
        follow: bool,
        directory: StateDirectory | None,
        handover: Handover | None = None,
        own_id: str | None = None,
        follows: Callable[[int], bool] | None = None,
        conventions: Conventions = OURS,
    ) -> None:
        """Go on from the stored position in ``directory``, else begin at the start; lines come by ``handover`` at best.

        ``own_id``: the run that all lines belong to, None to take their word. ``follows``: whether a rank is read.
        ``conventions``: names of spans.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self._exporter = exporter
        self._directory = directory
        self._traces = TraceProjector(run_id, resource, conventions)
        feed = partial(LineFeed, path, follow=follow, handover=handover, own_id=own_id, follows=follows)
        stored = directory.load(self.CHECKPOINT) if directory else None
        if stored is not None:
            try:
                self._restore(stored)
                self.feed = feed(stored=stored)
            except Exception as error:  # whatever is wrong with it, the log can give it again
                say(f"the stored delivery of {exporter.signal} is unusable ({error}); delivering the log anew")
                stored, self._traces = None, TraceProjector(run_id, resource, conventions)
        if stored is None:
            self.feed = feed(stored=None)
        super().__init__(self.feed)
        self._stored_at = time.monotonic()
        self._quiet_since = time.monotonic()
        self._unstored_since: float | None = None
        self._waiting: list[Any] = []

    @property
    def accounts(self) -> Sequence[Exporter]:
        """Counters of the signal."""
        return [self._exporter]

    def points(self) -> Mapping[OwnSignal, Points]:
        """Bytes that wait for delivery."""
        return {own.UNDELIVERED: {(self._exporter.signal,): float(self.feed.unread_bytes())}}

    def read(self) -> Sequence[Ingested] | None:
        """Return the next lines."""
        return self.feed.read(BATCH) or None

    def take(self, lines: Sequence[Ingested] | None, *, is_finishing: bool) -> bool:
        """Project ``lines`` and deliver once there is enough for a request, or it has waited long enough."""
        if lines:
            self._project(lines)
            self._quiet_since = time.monotonic()
        is_due = self._unstored_since is not None and time.monotonic() - self._unstored_since > DELAY_S
        is_enough = (is_finishing and not lines) or is_due or self._is_request()
        return not is_enough or self._deliver(is_at_rest=not lines)

    def idle(self) -> None:
        """Wait; a round followed by silence is complete."""
        if self._unstored_since is None and time.monotonic() - self._quiet_since > QUIET_S:
            self._flush()
        self.feed.wait(self._stop, IDLE_S)

    def end(self) -> bool:
        """Deliver the rest, closing open spans if the run is over."""
        if not self._send(self._made_of(self._traces.close() if self._is_over else self._traces.flush())):
            return False
        self._store()
        return True

    def cut(self) -> None:
        """Cancel a running export."""
        self._exporter.stop()

    def stopped(self) -> None:
        """Store the position unless it is behind what was not delivered."""
        self._store_rest()

    @abstractmethod
    def _made_of(self, spans: list[Any]) -> list[Any]:
        """Return what is delivered of ``spans``."""

    @abstractmethod
    def _made_of_line(self, line: Ingested, record: Record) -> list[Any]:
        """Return what is delivered of ``line``, whose ``record`` was fed to the traces' projection by this."""

    @abstractmethod
    def _is_request(self) -> bool:
        """True if enough waits to be sent without reading more."""

    @abstractmethod
    def _requests(self, items: list[Any]) -> Iterator[list[Any]]:
        """Split ``items`` into requests."""

    def _project(self, lines: Sequence[Ingested]) -> None:
        """Make items of ``lines``, to be delivered with those that already wait."""
        for line in lines:
            if line.record is not None and line.reason != DUPLICATE:
                self._waiting += self._made_of_line(line, line.record)
        if self._unstored_since is None:
            self._unstored_since = time.monotonic()

    def _deliver(self, *, is_at_rest: bool) -> bool:
        """Deliver the waiting items; False if stopped before that was done.

        The position behind it is stored, while lines keep coming only now and then.
        """
        waiting, self._waiting = self._waiting, []
        if not self._send(waiting):
            self._waiting = waiting
            return False  # the stored position lies in front of them: a later relay sends them
        if is_at_rest or time.monotonic() - self._stored_at > STORE_S:
            self._store_rest()
        return True

    def _flush(self) -> None:
        spans = self._traces.flush()
        if spans and self._send(self._made_of(spans)):
            self._store()

    def _send(self, items: list[Any]) -> bool:
        """Deliver ``items``, in several requests if needed; returns True if all were sent."""
        return all(self._until_delivered(self._exporter, batch) for batch in self._requests(items))

    def _until_delivered(self, exporter: Exporter, batch: list[Any]) -> bool:
        if not batch:
            return True
        pause_s, said, refused = FIRST_RETRY_S, False, exporter.refused
        while not exporter.export(batch, LONGEST_CALL_S):
            if self._stop.is_set():
                return False
            if not said:
                say(f"{exporter.signal} wait for the endpoint: {exporter.last_error}")
                said = True
            self._stop.wait(max(pause_s, min(exporter.retry_after_s, LONGEST_RETRY_AFTER_S)))
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)
        if said:
            say(f"{exporter.signal} are being delivered again")
        if exporter.refused > refused:
            say_once(
                f"{exporter.signal} refused",
                f"{exporter.last_error}: {exporter.refused - refused} {exporter.signal} permanently rejected; "
                f"{own.REFUSED.prometheus_name} counts them",
            )
        return True

    def _store_rest(self) -> None:
        """Store the position unless it is behind what was not delivered."""
        if self._unstored_since is not None and not self._waiting:
            self._store()

    def _store(self) -> None:
        self._stored_at, self._unstored_since = time.monotonic(), None
        if self._directory is None:
            return
        self._directory.save(self.CHECKPOINT, {**self.feed.state, **self._snapshot()})

    def _snapshot(self) -> dict[str, Any]:
        """The state beside the position, of JSON types only."""
        return {"traces": self._traces.snapshot()}

    def _restore(self, stored: dict[str, Any]) -> None:
        """Go on from what was stored; raises on what is none."""
        self._traces.restore(stored["traces"])
