"""Choice of the log events that are sent by OTLP: all, warnings, or warnings and one round in N whole.

At thousands of ranks every event as a log event is more than anybody stores. What is left out is in the event log and
in the archive. Rounds are chosen by their number alone, so that all ranks and a restarted relay choose the same ones.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from esper_otel.events import (
    BatchCompleted,
    CheckpointLoaded,
    CheckpointSaved,
    Event,
    HeuristicConfig,
    LogEventsReduced,
    PolicyUpdate,
    RoundStarted,
    RunEnded,
    TopologyManifest,
    TrainingStarted,
    TrainingUpdate,
)
from esper_otel.log.envelope import Record
from esper_otel.relay.options import ALL, ALL_LOGS, DEFAULT_EVERY, SAMPLED, WARNINGS, LogOptions
from esper_otel.relay.traces.state import Lane, lane_key

VARIABLE: Final = "ESPER_OTEL_LOGS"
EVERY: Final = "ESPER_OTEL_LOGS_EVERY"

KEPT: Final = "esper.logs.kept"
"""Resource attribute of log events where some are left out: ``warnings``, or ``sampled/100`` for one round in 100."""

OF_THE_RUN: Final = frozenset(
    {CheckpointLoaded, CheckpointSaved, HeuristicConfig, RunEnded, TopologyManifest, TrainingStarted}
)
"""Events of the run as a whole, which are always sent: its configuration, its resumes, its result and its end.

There are few of each, tables of the dashboards ask Loki for them, and none is declared as a warning. Reports of lost
events, of sensors, GPUs, stopped ranks and findings are warnings by their declaration. Heartbeats are neither.
"""

REST: Final = (
    "SELECT timestamp, rank, event_type, message, data FROM raw_events WHERE severity IN ('debug', 'info')"
    " ORDER BY timestamp"
)
"""SQL for the events whose log events may be left out."""

_QUIET: Final = frozenset({"debug", "info"})
"""Severities below a warning; an unknown one may be any."""

_MAX_KEYS: Final = 1_024
"""Ranks times groups that are told apart, as many as have rounds in traces."""

_LONGEST: Final = 1_000_000_000


def log_options(
    option: str | None = None, every: int | None = None, environment: Mapping[str, str] = os.environ
) -> LogOptions:
    """The options; what the command line leaves out, variables tell.

    Raises:
        ValueError: there is no such choice, or the number is none.
    """
    kept = (option or environment.get(VARIABLE, "")).strip().lower() or ALL
    if kept not in (ALL, WARNINGS, SAMPLED):
        raise ValueError(f"--logs ({VARIABLE}): expected {ALL}, {WARNINGS} or {SAMPLED}, not {kept[:80]!r}")
    text = str(every) if every is not None else environment.get(EVERY, "").strip() or str(DEFAULT_EVERY)
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 20 and 1 <= int(text) <= _LONGEST):
        raise ValueError(f"--logs-every ({EVERY}): expected a whole number from 1 to {_LONGEST}, not {text[:80]!r}")
    return LogOptions(kept=kept, every=int(text))


def resource_of_logs(options: LogOptions) -> dict[str, str]:
    """Attributes that the resource of log events has beside the run's."""
    return {KEPT: options.label} if options.label else {}


class State(msgspec.Struct, kw_only=True):
    """State of the choice between two lines; keys name a rank and a group.

    Attributes:
        rounds: those whose producer has rounds.
        updates: number of the last update of a loop.
        policy_updates: policy updates of those without rounds.
        left_out: log events left out so far.
        announced: the choice that was announced last.
    """

    rounds: set[str] = set()
    updates: dict[str, int] = {}
    policy_updates: dict[str, int] = {}
    left_out: int = 0
    announced: str = ""


class LogChoice:
    """Chooses the log events of one log, line by line."""

    def __init__(self, options: LogOptions = ALL_LOGS, run: str = "RUN") -> None:
        """Choose by ``options``; ``run`` is the path or address of the run, for the command that shows the rest."""
        self._options = options
        self._command = f'esper-otel sql {shlex.quote(run)} "{REST}"'
        self.state = State()

    def __str__(self) -> str:
        """The choice in words, for people."""
        return str(self._options)

    @property
    def is_all(self) -> bool:
        """True if nothing is left out."""
        return self._options.kept == ALL

    @property
    def left_out(self) -> int:
        """Log events left out so far."""
        return self.state.left_out

    def snapshot(self) -> dict[str, Any]:
        """The state between two lines, of JSON types only."""
        state: dict[str, Any] = msgspec.to_builtins(self.state)
        return state

    def restore(self, state: Any) -> None:
        """Go on from a snapshot; None, of an older version, starts at zero.

        Raises:
            msgspec.ValidationError: ``state`` is no snapshot.
        """
        self.state = State() if state is None else msgspec.convert(state, State)

    def announcement(self) -> LogEventsReduced | None:
        """The event that says what is left out, once for each choice over all restarts; None where nothing is."""
        label, before = self._options.label, self.state.announced
        self.state.announced = label
        if not label or label == before:
            return None
        every = self._options.every if self._options.kept == SAMPLED else None
        return LogEventsReduced(kept=self._options.kept, every=every, command=self._command)

    def keeps(self, record: Record, events: tuple[Event, ...], lane: Lane | None) -> bool:
        """Return True if the log events of ``record`` are sent; those of one that is left out are counted.

        ``lane``: the rounds of its rank and group, which have taken it already.
        """
        if (
            self.is_all
            or self._is_sampled(record, events, lane)
            or record.severity not in _QUIET
            or any(type(event) in OF_THE_RUN for event in events)
        ):
            return True
        self.state.left_out += max(len(events), 1)
        return False

    def _is_sampled(self, record: Record, events: tuple[Event, ...], lane: Lane | None) -> bool:
        if self._options.kept != SAMPLED:
            return False
        number = self._number(record, events, lane)
        return number is not None and (number == 1 or number % self._options.every == 0)

    def _number(self, record: Record, events: tuple[Event, ...], lane: Lane | None) -> int | None:
        """Number of the round that the record lies in; of the update where there are none; None before both."""
        key = lane_key(record.rank, record.group_id) if lane is None else lane_key(lane.rank, lane.group)
        for event in events:
            self._count(key, event)
        state = self.state
        if key not in state.rounds:
            step = next((step for event in events if isinstance(step := getattr(event, "step", None), int)), None)
            update = step if step is not None else state.updates.get(key, state.policy_updates.get(key))
            if update is not None:
                return update
        if lane is None:
            return None
        return lane.round.number if lane.round is not None else lane.previous

    def _count(self, key: str, event: Event) -> None:
        """Learn from an event whether its producer has rounds, and the number of the update."""
        state = self.state
        if isinstance(event, TrainingUpdate):
            _note(state.updates, key, event.update)
        elif isinstance(event, PolicyUpdate):
            _note(state.policy_updates, key, event.batch)
        elif isinstance(event, BatchCompleted | RoundStarted) and len(state.rounds) < _MAX_KEYS:
            state.rounds.add(key)


def _note(numbers: dict[str, int], key: str, given: int | None) -> None:
    """Take the number of an update; count it where it has none."""
    if key in numbers or len(numbers) < _MAX_KEYS:
        numbers[key] = given if given is not None else numbers.get(key, 0) + 1
