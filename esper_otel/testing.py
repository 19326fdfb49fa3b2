"""A run in memory, for tests of code that emits events.

Example::

    from esper_otel.events import PolicyUpdate
    from esper_otel.testing import record_events

    def test_every_update_reports_its_loss() -> None:
        with record_events() as run:
            train(updates=3)  # calls esper_otel.emit(), and may call configure() and shutdown()

        losses = [update.policy_loss for update in run.of(PolicyUpdate)]
        assert len(losses) == 3
        assert all(loss is not None for loss in losses)

Nothing is written and no relay starts. What a run would leave out with a message, something that is no event or a field
that has no JSON form, raises in the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from esper_otel.events.declare import Event, Severity
from esper_otel.events.run import RunEnded
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.queued import Queued
from esper_otel.runtime.clock import RunClock
from esper_otel.runtime.exits import Outcome
from esper_otel.runtime.run import Telemetry
from esper_otel.runtime.settings import Settings, gather
from esper_otel.runtime.telemetry import Process

E = TypeVar("E", bound=Event)

__all__ = ["Emitted", "RecordedRun", "record_events"]


class Emitted(NamedTuple):
    """An event, and what was given with it.

    Attributes:
        event: the event.
        timestamp_ns: Unix time in ns.
        group_id: A/B group.
        severity: severity; that of the event's class unless it was given.
        message: text for people, if any.
    """

    event: Event
    timestamp_ns: int
    group_id: str
    severity: Severity
    message: str | None


class RecordedRun:
    """The events of one block, in the order in which they were emitted.

    Attributes:
        emitted: each event with its time, group, severity and message.
        ended: how the run ended, when the code called ``shutdown()``; None while it did not.
    """

    def __init__(self) -> None:
        """Nothing was emitted yet."""
        self.emitted: list[Emitted] = []
        self.ended: RunEnded | None = None
        self._encoder = LineEncoder("in-memory", 0)

    @property
    def events(self) -> list[Event]:
        """All events."""
        return [item.event for item in self.emitted]

    def of(self, event_type: type[E]) -> list[E]:
        """The events of one class."""
        return [event for event in self.events if isinstance(event, event_type)]

    def one(self, event_type: type[E]) -> E:
        """The only event of one class.

        Raises:
            AssertionError: there is none, or there are several.
        """
        found = self.of(event_type)
        if len(found) != 1:
            names = ", ".join(type(event).__name__ for event in self.events) or "nothing"
            raise AssertionError(f"{len(found)} {event_type.__name__} events were emitted, not 1; in order: {names}")
        return found[0]

    def put(self, item: Queued) -> None:
        """Keep an event that was emitted.

        Raises:
            TypeError: it is no event, or the log would leave a field out; the message names it.
        """
        event, timestamp_ns, group_id, severity, message = item
        if not isinstance(event, Event):
            raise TypeError(f"emit() takes an event of esper_otel.events, not {type(event).__name__}")
        level = Severity(severity or event.severity)
        envelope = Envelope(timestamp_ns, group_id, level, message, seq=len(self.emitted) + 1)
        _, left_out = self._encoder.encode(event, envelope)
        if left_out:
            raise TypeError(f"{type(event).__name__}: the log cannot hold {'; '.join(left_out)}")
        self.emitted.append(Emitted(event, timestamp_ns, group_id, level, message))


class _InMemory(Telemetry):
    """Takes events like a configured run, with no log behind it."""

    def __init__(self, recorded: RecordedRun, settings: Settings) -> None:
        """Keep events in ``recorded``."""
        RunClock.__init__(self)
        self._settings = settings
        self._recorded = recorded
        self.group_id = settings.group_id
        self.is_recording = True
        self.put = recorded.put

    @property
    def run_dir(self) -> Path:
        """Directory that the run would have; nothing is written there."""
        return self._settings.run_dir

    @property
    def relay_pid(self) -> int | None:
        """None: no relay runs."""
        return None

    @property
    def counters(self) -> dict[str, int]:
        """Everything emitted is recorded."""
        return {"emitted": len(self._recorded.emitted), "written": len(self._recorded.emitted)}

    def close(
        self,
        outcome: Outcome,
        detail: str | None,
        timeout_s: float,
        rounds: int | None = None,
        wait_s: float | None = None,
    ) -> bool:
        """Note how the run ended; True, as there is nothing to deliver."""
        self._recorded.ended = RunEnded(outcome=outcome, detail=detail, rounds=rounds, reported_by="trainer")
        return True

    def bind(self, recorder: Any, event: type[Event], group_id: str | None, severity: str | None) -> None:
        """Every event is made, for the test to look at: no recorder copies its values."""

    def forget_in_child(self) -> None:
        """A forked child goes on in its own copy of the memory."""


@contextmanager
def record_events(group_id: str = "default") -> Iterator[RecordedRun]:
    """Record what the block emits, whether or not it calls ``configure()`` and ``shutdown()``.

    Raises:
        RuntimeError: this process is configured for a run, or records in memory already.
    """
    before = Process.active
    if Process.in_memory is not None or (before is not None and before.is_recording):
        raise RuntimeError("this process has a run: call shutdown() before record_events()")
    recorded = RecordedRun()
    settings = gather(
        telemetry_dir="in-memory",
        run_id="in-memory",
        rank=0,
        world_size=1,
        relay=False,
        group_id=group_id,
        linger_s=0.0,
        environment={},
    )
    Process.active = Process.in_memory = _InMemory(recorded, settings)
    try:
        yield recorded
    finally:
        Process.active, Process.in_memory = before, None
