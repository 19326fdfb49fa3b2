"""Exemplars: from a bucket of a histogram to the trace of a round whose value fell into it.

A trace is known by the number of its round, which the state of the metrics does not keep: it is followed here as in
:mod:`esper_otel.relay.traces`, and where it cannot be told for certain there is no exemplar. Of each bucket the last
one is kept, so memory does not grow. Nothing is stored: after a restart, exemplars start empty.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

import msgspec

from esper_otel.events import BatchCompleted, Event, PolicyUpdate, TrainingStarted
from esper_otel.log.envelope import Record
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.metrics.accumulators import finite
from esper_otel.relay.metrics.families import BucketExemplars, Exemplar, Family
from esper_otel.relay.traces.rules import OPENERS
from esper_otel.relay.traces.state import Lane
from esper_otel.signals.registry import SIGNALS, Signal

EXEMPLARS: Final = ("tamiyo.pre_clip_grad_norm", "tamiyo.update.duration", "tolaria.batch.duration")
"""Histograms that have them: one value for each round or update, so that the round is what a person wants to see."""

MAX_SCOPES: Final = 4_096
"""Groups and ranks that are followed: more than one run has, so that hostile names cannot fill the memory."""

_BY_EVENT: Final[dict[type[Event], tuple[Signal, ...]]] = {
    event: tuple(signal for signal in SIGNALS if signal.name in EXEMPLARS and signal.event is event)
    for event in (PolicyUpdate, BatchCompleted)
}

Scope = tuple[str, int]
"""Group and rank."""


class Started(msgspec.Struct):
    """Number of starts of training in one group and rank, as its traces count them, and the last completed round."""

    starts: int = 0
    completed: int = 0


class Exemplars:
    """The exemplars of one run."""

    def __init__(self, run_id: str) -> None:
        """``run_id`` is the run of records that do not name one, as in their traces."""
        self._run_id = run_id
        self._started: dict[Scope, Started] = {}
        self._kept: dict[str, BucketExemplars] = {}

    def observe(self, line: Ingested) -> None:
        """Process a line of the log, in order."""
        record = line.record
        if record is None:
            return
        for event in line.events:
            kind = type(event)
            if kind in _BY_EVENT:
                self._value(record, event)
            elif kind is TrainingStarted:
                self._start(record, event)
            elif kind in OPENERS and (record.group_id, record.rank) not in self._started:
                self._scope(record, starts=1)

    def attach(self, families: list[Family]) -> list[Family]:
        """The families, those that have exemplars with a copy of them."""
        return [self._with_exemplars(family) if family.name in self._kept else family for family in families]

    def snapshot(self) -> list[list[Any]]:
        """Number of starts and progress, as plain JSON, without the exemplars."""
        return [[*scope, started.starts, started.completed] for scope, started in self._started.items()]

    def restore(self, state: list[list[Any]]) -> None:
        """Go on from a snapshot.

        Raises:
            ValueError, TypeError: it is none.
        """
        self._started = {(group, rank): Started(starts, completed) for group, rank, starts, completed in state}

    def _scope(self, record: Record, *, starts: int) -> Started | None:
        """State of the record's group and rank; ``starts`` for a new one, None if there are too many."""
        scope = (record.group_id, record.rank)
        found = self._started.get(scope)
        if found is None and len(self._started) < MAX_SCOPES:
            found = self._started[scope] = Started(starts)
        return found

    def _start(self, record: Record, event: Any) -> None:
        started = self._scope(record, starts=0)
        if started is not None:
            started.starts += 1
            started.completed = (event.start_episode or 0) // max(event.n_envs or 1, 1)

    def _value(self, record: Record, event: Any) -> None:
        # What comes before the first start belongs to an earlier one: the log begins in mid-run.
        started = self._scope(record, starts=1)
        if started is None:
            return
        is_end = isinstance(event, BatchCompleted)
        number = event.batch_idx if is_end else event.batch
        if number == started.completed + 1 and started.starts == 1 and record.group_id:
            self._keep(record, event, number)
        if is_end:
            started.completed = max(started.completed + 1, number or 0)

    def _keep(self, record: Record, event: Event, number: int) -> None:
        lane = Lane(run_id=record.run_id or self._run_id, rank=record.rank, group=record.group_id)
        trace_id, span_id = lane.root(number)
        for signal in _BY_EVENT[type(event)]:
            value = finite(getattr(event, signal.path[0]), signal.scale)
            if value is not None:
                kept = self._kept.setdefault(signal.name, {})
                buckets = kept.setdefault((record.group_id, str(record.rank)), {})
                buckets[bisect_left(signal.bounds, value)] = Exemplar(value, record.timestamp_ns, trace_id, span_id)

    def _with_exemplars(self, family: Family) -> Family:
        kept = {values: dict(buckets) for values, buckets in self._kept[family.name].items()}
        return msgspec.structs.replace(family, exemplars=kept)
