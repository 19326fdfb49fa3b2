"""Conversion of events to traces: one trace per round, with its episodes, epochs, phases, policy updates and seeds.

A pure state machine: no clock, no tracer, no exporter. A span is built when the event that finishes it arrives, with
the events' own times, so that following a live log, replaying a finished one and starting again from a checkpoint give
the same spans. Which round an event belongs to is decided by the order of the log: a round ends with its
``TOLARIA_BATCH_COMPLETED`` and the next one begins with the next event of a kind that only happens within rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from esper_otel.events import (
    BatchCompleted,
    CounterfactualMatrix,
    Decision,
    EpisodeOutcome,
    EpochCompleted,
    Event,
    PhaseProfile,
    PolicyUpdate,
    RewardComputed,
    RewardHackingSuspected,
    Rollback,
    RunEnded,
    SeedFossilized,
    SeedGateEvaluated,
    SeedGerminated,
    SeedPruned,
    SeedStageChanged,
    TrainingStarted,
    UpdateSkipped,
)
from esper_otel.log.envelope import Record
from esper_otel.relay.trace_ids import run_trace_id, span_id
from esper_otel.relay.traces.build import SpanSink, lane_attributes, run_attributes
from esper_otel.relay.traces.conventions import OURS, Conventions
from esper_otel.relay.traces.loops import LOOP_EVENTS, LoopSpans
from esper_otel.relay.traces.rounds import LATE_NS, RoundSpans, duration_ns, env_of, episode_ref, scalars
from esper_otel.relay.traces.rules import OPENERS, anomaly_name, opens_round
from esper_otel.relay.traces.seeds import SeedSpans
from esper_otel.relay.traces.state import Lane, Round, SpanRef, State, lane_key, run_span

NO_CONTEXT: Final[SpanRef] = (0, 0)

OUTSIDE_GROUP: Final = (Rollback, RewardHackingSuspected)
"""Events that esper-lite sends under the group ``default`` whatever group they belong to."""

Handler = Callable[[Lane, Round, Record, Any], SpanRef | None]

MAX_LANES: Final = 1_024
"""Ranks times A/B groups that have rounds of their own; what comes beyond them joins the round that its rank is in."""


class TraceProjector:
    """Converts the events of a log, in order, to finished spans.

    Attributes:
        run_id: the run of records that do not name one.
    """

    def __init__(self, run_id: str, resource: Resource, conventions: Conventions = OURS) -> None:
        """Project a run; every span carries ``resource`` and has its name by ``conventions``."""
        self.run_id = run_id
        self._sink = SpanSink(resource, conventions)
        self._seeds = SeedSpans(self._sink)
        self._rounds = RoundSpans(self._sink, self._seeds)
        self._state = State()
        self._loops = LoopSpans(self._sink, self._state.loops)
        self._active: dict[int, Lane] = {}  # what state.current says, without the texts that JSON wants
        self._lanes: dict[tuple[int, str], Lane] = {}  # the same of state.lanes, as far as it was asked for
        self._may_wait = False  # whether a round may have ended whose root was not yet exported
        self._last: tuple[Record | None, SpanRef] = (None, NO_CONTEXT)
        self._handlers: dict[type[Event], Handler] = {
            BatchCompleted: self._rounds.batch_completed,
            CounterfactualMatrix: self._on_counterfactual,
            Decision: self._on_env_event,
            EpisodeOutcome: self._rounds.episode_ended,
            EpochCompleted: self._rounds.epoch_completed,
            PhaseProfile: self._rounds.phases,
            PolicyUpdate: self._on_policy_update,
            RewardComputed: self._on_env_event,
            SeedFossilized: self._seeds.ended,
            SeedGateEvaluated: self._seeds.gate_evaluated,
            SeedGerminated: self._seeds.germinated,
            SeedPruned: self._seeds.ended,
            SeedStageChanged: self._seeds.stage_changed,
        }

    @property
    def dropped(self) -> int:
        """Spans left out so far because their trace was full; a round's count when its root is finished."""
        return self._state.dropped

    def feed(self, record: Record, events: tuple[Event, ...]) -> list[ReadableSpan]:
        """Take one record with the events made of it; returns the spans that it finishes, oldest end first."""
        if self._may_wait:
            self._close_waiting(record)
        context: SpanRef | None = None
        for event in events:
            own = self._take(record, event)
            context = context or own
        self._last = (record, context or self._ambient(record))
        return self._sink.take_finished() if self._sink.finished else []

    def flush(self) -> list[ReadableSpan]:
        """Finish the rounds whose batch has completed: for a silent log, or a relay that stops and comes back."""
        for lane in self._state.lanes.values():
            if lane.round is not None and lane.round.ended_ns is not None:
                self._close_round(lane, lane.round.ended_ns)
        return self._sink.take_finished()

    def close(self, end_ns: int | None = None) -> list[ReadableSpan]:
        """Finish, truncated, all open spans; only for a log that is complete.

        Open spans end at ``end_ns`` (Unix ns), or at the last event of their round.
        """
        for lane in self._state.lanes.values():
            self._close_round(lane, end_ns if end_ns is not None else lane.round.last_ns if lane.round else 0)
        self._loops.end(truncated=True)
        return self._sink.take_finished()

    def trace_context(self, record: Record) -> SpanRef:
        """Trace and span id that the log event of ``record`` names; for the record last fed, its own span if any."""
        last, context = self._last
        return context if last is record else self._ambient(record)

    def lane(self, record: Record) -> Lane | None:
        """The rounds that ``record``, which was fed, belongs to."""
        return self._lane(record, None)

    def snapshot(self) -> dict[str, Any]:
        """The state between two records, of JSON types only."""
        state: dict[str, Any] = msgspec.to_builtins(self._state)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot.

        Raises:
            msgspec.ValidationError: ``state`` is not a snapshot.
        """
        self._state = msgspec.convert(state, State)
        self._loops.loops = self._state.loops
        self._active.clear()
        self._lanes.clear()
        self._may_wait = True
        self._last = (None, NO_CONTEXT)

    def _take(self, record: Record, event: Event) -> SpanRef | None:
        if type(event) in LOOP_EVENTS:
            return self._loops.take(self.run_id, record, event)  # type: ignore[arg-type]  # it is one of them
        if type(event) is TrainingStarted:
            return self._on_training_started(record, event)
        if type(event) is RunEnded:
            return self._on_run_ended(record, event)
        lane = self._lane(record, event)
        if lane is None:
            return None
        is_in_round = lane.round is not None and lane.round.ended_ns is None and self._active.get(lane.rank) is lane
        if not is_in_round and opens_round(lane, event):
            self._open_round(lane, record)
        anomaly = anomaly_name(event)
        if anomaly is not None:
            self._rounds.note_anomaly(lane, anomaly)
        handler = self._handlers.get(type(event))
        if handler is None or lane.round is None:
            return None
        self._may_wait = self._may_wait or type(event) is BatchCompleted
        return handler(lane, lane.round, record, event)

    def _open_round(self, lane: Lane, record: Record) -> None:
        if lane.round is not None and lane.round.ended_ns is not None:
            self._close_round(lane, record.timestamp_ns)
        self._activate(lane)
        if lane.round is None:
            self._let_others_pass(lane)
            lane.open_round(record.timestamp_ns)

    def _activate(self, lane: Lane) -> None:
        """Make ``lane`` the one that its rank trains; for nearly every event it already is."""
        if self._active.get(lane.rank) is not lane:
            self._active[lane.rank] = lane
            self._state.current[str(lane.rank)] = lane_key(lane.rank, lane.group)

    def _lane(self, record: Record, event: Event | None) -> Lane | None:
        """The lane of an event; created if the event opens rounds, else the existing one, or None."""
        found = self._lanes.get((record.rank, record.group_id))
        if found is not None:
            return found
        found = self._state.lanes.get(lane_key(record.rank, record.group_id))
        if found is not None:
            self._lanes[record.rank, record.group_id] = found
            return found
        current = self._state.lanes.get(self._state.current.get(str(record.rank), ""))
        if current is not None and (record.group_id == "" or isinstance(event, OUTSIDE_GROUP) or event is None):
            return current
        if event is None or not (type(event) in OPENERS or isinstance(event, (PolicyUpdate, UpdateSkipped))):
            return current
        return self._make_lane(record) if len(self._state.lanes) < MAX_LANES else current

    def _make_lane(self, record: Record) -> Lane:
        lane = Lane(run_id=record.run_id or self.run_id, rank=record.rank, group=record.group_id)
        self._state.lanes[lane_key(record.rank, record.group_id)] = lane
        return lane

    def _let_others_pass(self, lane: Lane) -> None:
        """A rank that trains its groups in turn begins a round of one only where that of another has ended."""
        if lane.round is not None or lane.boundary_ns is None:
            return
        for other in self._state.lanes.values():
            is_idle = other.round is None or other.round.ended_ns is not None
            if other.rank == lane.rank and other.boundary_ns is not None and is_idle:
                lane.boundary_ns = max(lane.boundary_ns, other.boundary_ns)

    def _ambient(self, record: Record) -> SpanRef:
        """The root of the round that is open or ended last, else that of the loop; before both, the span of the run."""
        lane = self._lane(record, None)
        if lane is None:
            return self._loops.root(record) or run_span(record.run_id or self.run_id, record.group_id)
        number = lane.round.number if lane.round is not None else lane.previous
        return lane.run_span() if number is None else lane.root(number)

    def _close_waiting(self, record: Record) -> None:
        """Export the roots that have waited long enough for late anomalies."""
        self._may_wait = False
        for lane in self._state.lanes.values():
            current = lane.round
            if current is None or current.ended_ns is None:
                continue
            if lane.rank == record.rank and record.timestamp_ns > current.ended_ns + LATE_NS:
                self._close_round(lane, current.ended_ns)
            else:
                self._may_wait = True

    def _close_round(self, lane: Lane, end_ns: int) -> None:
        self._state.dropped += self._rounds.close(lane, end_ns)

    def _on_training_started(self, record: Record, event: TrainingStarted) -> SpanRef:
        lane = self._state.lanes.get(lane_key(record.rank, record.group_id)) or self._make_lane(record)
        self._close_round(lane, record.timestamp_ns)
        # A log that begins in mid-run has rounds before its first start; their ids must not come again either.
        lane.starts = max(lane.starts, int(lane.previous is not None)) + 1
        lane.world_size = event.world_size or 1
        lane.completed = (event.start_episode or 0) // max(event.n_envs or 1, 1)
        lane.previous, lane.carried, lane.boundary_ns = None, {}, record.timestamp_ns
        self._activate(lane)
        if lane.rank == 0:
            attributes = {**run_attributes(lane.run_id, record), **scalars(event)}
            self._sink.add("esper.run", lane.run_span(), (record.timestamp_ns, record.timestamp_ns), attributes)
        return lane.run_span()

    def _on_run_ended(self, record: Record, event: RunEnded) -> SpanRef:
        run_id = record.run_id or self.run_id
        lanes = [lane for lane in self._state.lanes.values() if lane.rank == record.rank]
        for lane in lanes:
            self._close_round(lane, record.timestamp_ns)
        trace = run_trace_id(run_id, f"end {record.rank}")
        ref = (trace, span_id(trace, "esper.run.end"))
        attributes = {**run_attributes(run_id, record), **scalars(event)}
        error = None if event.outcome == "finished" else f"{event.outcome}: {event.detail or 'no detail'}"
        links = [lane.run_span() for lane in lanes] + self._loops.end(record.rank)
        links = links or [run_span(run_id, record.group_id)]
        times_ns = (record.timestamp_ns, record.timestamp_ns)
        self._sink.add("esper.run.end", ref, times_ns, attributes, links=links, error=error)
        return ref

    def _on_env_event(self, lane: Lane, current: Round, _record: Record, event: Decision | RewardComputed) -> SpanRef:
        env = env_of(event.env_id)
        if current.episode_ends and str(env) in current.episode_ends and str(env) not in current.episodes:
            return lane.root(current.number)
        episode = self._rounds.episode(lane, current, env, event.episode_idx)
        return lane.root(current.number) if episode.cut else episode_ref(lane, current, episode)

    def _on_policy_update(self, lane: Lane, _current: Round, record: Record, event: PolicyUpdate) -> SpanRef | None:
        return self._timed("tamiyo.policy_update", lane, record, event, event.update_time_ms)

    def _on_counterfactual(
        self, lane: Lane, _current: Round, record: Record, event: CounterfactualMatrix
    ) -> SpanRef | None:
        return self._timed("simic.counterfactual", lane, record, event, event.compute_time_ms)

    def _timed(self, name: str, lane: Lane, record: Record, event: Event, took_ms: float | None) -> SpanRef | None:
        """A child of the root that ends with its event and took ``took_ms``."""
        current = lane.open_round(record.timestamp_ns)
        ref = lane.child(current.number, name, current.next_number(name))
        end_ns = record.timestamp_ns
        times_ns = current.clamp(end_ns - duration_ns(took_ms), end_ns)
        if not current.take(detail=False):
            return None
        attributes = {**lane_attributes(lane, current), **scalars(event)}
        self._sink.add(name, ref, times_ns, attributes, parent=lane.root(current.number), error=anomaly_name(event))
        return ref
