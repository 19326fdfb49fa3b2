"""Spans of a plain PyTorch loop: epochs, evaluations, checkpoints, and stretches of updates between them.

They lie side by side in one trace for each rank, under a root that ends with the run. A trace that is full is followed
by another, so that a run of weeks has no trace that a backend would cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from esper_otel.events import CheckpointLoaded, CheckpointSaved, Event, LoaderPass, TrainingUpdate
from esper_otel.events.vocabulary import PASS_EPOCH
from esper_otel.log.envelope import Record
from esper_otel.relay.encoding.attributes import AttributeValue
from esper_otel.relay.trace_ids import span_id
from esper_otel.relay.traces.build import TRUNCATED, SpanSink
from esper_otel.relay.traces.rounds import duration_ns, scalars
from esper_otel.relay.traces.state import LOOP, MAX_SPANS, Loop, SpanRef, lane_key

UPDATES: Final = "tolaria.updates"

STRETCH_NS: Final = 60_000_000_000
"""Time after which updates become a span where no epoch has ended: a loop may have none, or one that lasts days."""

MAX_LOOPS: Final = 1_024
"""Ranks times groups whose loops are followed, as many as have rounds."""

LoopEvent = TrainingUpdate | LoaderPass | CheckpointSaved | CheckpointLoaded
LOOP_EVENTS: Final = frozenset({TrainingUpdate, LoaderPass, CheckpointSaved, CheckpointLoaded})

_SPAN_NAMES: Final[dict[type[Event], str]] = {
    CheckpointSaved: "tolaria.checkpoint.save",
    CheckpointLoaded: "tolaria.checkpoint.load",
}


class LoopSpans:
    """Follows the loop of every rank.

    Attributes:
        loops: their state, by rank and group.
    """

    def __init__(self, sink: SpanSink, loops: dict[str, Loop]) -> None:
        """Send finished spans to ``sink``."""
        self.loops = loops
        self._sink = sink

    def take(self, run_id: str, record: Record, event: LoopEvent) -> SpanRef | None:
        """Take an event of a loop; returns its own span, or that of the loop."""
        end_ns = record.timestamp_ns
        took_ns = None if isinstance(event, TrainingUpdate) else _measured_ns(event)
        if took_ns is None and not isinstance(event, TrainingUpdate):
            return None  # a checkpoint of a program that reports it itself
        loop = self._loop(run_id, record, end_ns - (took_ns or 0))
        if loop is None:
            return None
        if isinstance(event, TrainingUpdate):
            loop.updates += 1
            loop.last_ns = max(loop.last_ns, end_ns)
            if end_ns > loop.epoch_end_ns:  # those of a GPU are read late
                loop.stretch_updates += 1
            if end_ns - loop.stretch_start_ns >= STRETCH_NS:
                self._end_stretch(loop, end_ns)
            return loop.root()
        times_ns = (end_ns - (took_ns or 0), end_ns)
        loop.start_ns = min(loop.start_ns, times_ns[0])
        if isinstance(event, LoaderPass):
            return self._pass(loop, event, times_ns)
        return self._add(loop, _SPAN_NAMES[type(event)], times_ns, scalars(event))

    def end(self, rank: int | None = None, *, truncated: bool = False) -> list[SpanRef]:
        """The loops of a rank, or all, are over; returns their roots."""
        ended = [loop for loop in self.loops.values() if not loop.is_over and rank in (None, loop.rank)]
        for loop in ended:
            self._end_stretch(loop, loop.last_ns)
            self._end_part(loop, {TRUNCATED: True} if truncated else {})
            loop.is_over = True
        return [loop.root() for loop in ended]

    def root(self, record: Record) -> SpanRef | None:
        """The root of the loop that a record belongs to."""
        loop = self.loops.get(lane_key(record.rank, record.group_id))
        return None if loop is None else loop.root()

    def _loop(self, run_id: str, record: Record, start_ns: int) -> Loop | None:
        key = lane_key(record.rank, record.group_id)
        loop = self.loops.get(key)
        if loop is not None and loop.is_over:
            loop.is_over, loop.stretch_start_ns, loop.last_ns, loop.has_stretches = False, start_ns, start_ns, False
            _begin_part(loop, start_ns)
        if loop is None and len(self.loops) < MAX_LOOPS:
            loop = self.loops[key] = Loop(
                run_id=record.run_id or run_id,
                rank=record.rank,
                group=record.group_id,
                start_ns=start_ns,
                last_ns=start_ns,
                stretch_start_ns=start_ns,
            )
        return loop

    def _pass(self, loop: Loop, event: LoaderPass, times_ns: tuple[int, int]) -> SpanRef:
        is_epoch = event.kind == PASS_EPOCH
        if is_epoch:
            if loop.has_stretches:
                self._end_stretch(loop, times_ns[1])
            loop.stretch_start_ns = loop.epoch_end_ns = times_ns[1]
            loop.stretch_updates, loop.has_stretches = 0, False
        return self._add(loop, "tolaria.epoch" if is_epoch else "tolaria.evaluation", times_ns, scalars(event))

    def _end_stretch(self, loop: Loop, end_ns: int) -> None:
        """Make a span of the updates since the last one."""
        if loop.stretch_updates:
            times_ns = (min(loop.stretch_start_ns, end_ns), end_ns)
            self._add(loop, UPDATES, times_ns, {"tolaria.updates": loop.stretch_updates})
        loop.stretch_start_ns, loop.stretch_updates, loop.has_stretches = end_ns, 0, True

    def _add(
        self, loop: Loop, name: str, times_ns: tuple[int, int], attributes: Mapping[str, AttributeValue]
    ) -> SpanRef:
        if loop.spans >= MAX_SPANS - 1:
            self._end_part(loop, {})
            _begin_part(loop, times_ns[0])
        loop.spans += 1
        loop.last_ns = max(loop.last_ns, times_ns[1])
        number = loop.counts[name] = loop.counts.get(name, 0) + 1
        root = loop.root()
        ref = (root[0], span_id(root[0], name, number))
        self._sink.add(name, ref, times_ns, {**loop.attributes(), **attributes}, parent=root)
        return ref

    def _end_part(self, loop: Loop, attributes: Mapping[str, AttributeValue]) -> None:
        own = {**loop.attributes(), "tolaria.loop.part": loop.part, "tolaria.updates": loop.updates, **attributes}
        links = [loop.root(loop.part - 1)] if loop.part > 1 else []
        times_ns = (loop.start_ns, max(loop.last_ns, loop.start_ns))
        self._sink.add(LOOP, loop.root(), times_ns, own, links=links)


def _begin_part(loop: Loop, start_ns: int) -> None:
    loop.part += 1
    loop.spans, loop.updates, loop.start_ns = 0, 0, start_ns


def _measured_ns(event: LoaderPass | CheckpointSaved | CheckpointLoaded) -> int | None:
    return None if event.duration_ms is None else duration_ns(event.duration_ms)
