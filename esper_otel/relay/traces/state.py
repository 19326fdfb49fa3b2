"""State of the trace projector between events: plain data for a checkpoint.

A lane is the series of rounds of one rank and group. Ids are never stored where they can be derived again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.relay.trace_ids import child_ref, round_trace_id, run_trace_id, span_id

MAX_SPANS: Final = 1_000
"""Most spans of one trace, over all ranks; backends drop the rest of a trace that is too big, root included."""

DETAIL_SHARE: Final = 0.8
"""Share of the spans that epochs, phases and stages may take, so that a long round keeps its episodes and seeds."""

MIN_SPANS_PER_RANK: Final = 20

LOOP: Final = "tolaria.loop"
"""Name of the root of a plain loop."""

SpanRef = tuple[int, int]
"""Trace id and span id."""


class Seed(msgspec.Struct, kw_only=True):
    """A seed whose span is open.

    ``number`` tells the seeds of one slot and round apart; ``link`` is the seed's span of an earlier round, in hex.
    """

    seed_id: str
    env: str
    slot: str
    number: int
    start_ns: int
    blueprint: str | None = None
    stage: str | None = None
    stage_start_ns: int = 0
    stages: int = 0
    cut: bool = False
    start_unknown: bool = False
    link: tuple[str, str] | None = None


class Episode(msgspec.Struct, kw_only=True):
    """An episode whose span is open; ``last_ns`` is the end of its last epoch."""

    env: int
    number: int
    start_ns: int
    last_ns: int
    epochs: int = 0
    episode_idx: int | None = None
    cut: bool = False


class Round(msgspec.Struct, kw_only=True):
    """A round whose root span was not yet exported; ``ended_ns`` is set when its batch has completed."""

    number: int
    start_ns: int
    last_ns: int
    budget: int
    ended_ns: int | None = None
    spans: int = 1
    dropped: int = 0
    anomalies: list[str] = []
    counts: dict[str, int] = {}
    episodes: dict[str, Episode] = {}
    episode_ends: dict[str, int] = {}
    seeds: dict[str, Seed] = {}
    gone_seeds: dict[str, str] = {}
    summary: dict[str, str | bool | int | float] = {}

    def take(self, *, detail: bool) -> bool:
        """Reserve one span; False, and counted as dropped, if the trace has no room."""
        if self.spans < (self.budget * DETAIL_SHARE if detail else self.budget):
            self.spans += 1
            return True
        self.dropped += 1
        return False

    def next_number(self, kind: str) -> int:
        """Number of spans of ``kind`` in this round, this one included: part of a span's identity."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return self.counts[kind]

    def clamp(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """The interval inside the round and never negative; clocks may step back. The round grows to hold its end."""
        start_ns = max(min(start_ns, end_ns), self.start_ns)
        end_ns = max(start_ns, end_ns)
        self.last_ns = max(self.last_ns, end_ns)
        return start_ns, end_ns


class Lane(msgspec.Struct, kw_only=True):
    """The rounds of one rank and group.

    Attributes:
        run_id: the run, as its ids use it.
        starts: how often training started; from the second on, ids carry it, so that they do not repeat.
        completed: number of the last completed round.
        boundary_ns: when the last round ended or training started: the next round begins there.
        carried: spans of the seeds that were open at the end of the last round, by seed id, in hex.
    """

    run_id: str
    rank: int
    group: str
    starts: int = 0
    world_size: int = 1
    completed: int = 0
    boundary_ns: int | None = None
    previous: int | None = None
    round: Round | None = None
    carried: dict[str, tuple[str, str]] = {}

    @property
    def run_key(self) -> str:
        """Name of the run in ids."""
        return self.run_id if self.starts <= 1 else f"{self.run_id}#{self.starts}"

    def root(self, number: int) -> SpanRef:
        """The root span of round ``number``, the same on every rank."""
        trace = round_trace_id(self.run_key, self.group, number)
        return trace, span_id(trace, "simic.round")

    def run_span(self) -> SpanRef:
        """The span that marks the start of the run."""
        return run_span(self.run_key, self.group)

    def child(self, number: int, kind: str, *key: str | int) -> SpanRef:
        """A span of this rank in the trace of round ``number``."""
        return child_ref(self.run_key, self.group, number, kind, self.rank, *key)

    def open_round(self, now_ns: int) -> Round:
        """The open round, begun now if there is none; it starts where the one before ended."""
        if self.round is None:
            start_ns = min(now_ns, self.boundary_ns if self.boundary_ns is not None else now_ns)
            budget = max(MAX_SPANS // max(self.world_size, 1), MIN_SPANS_PER_RANK)
            self.round = Round(number=self.completed + 1, start_ns=start_ns, last_ns=now_ns, budget=budget)
        return self.round


class Loop(msgspec.Struct, kw_only=True):
    """The loop of one rank and group, as far as its spans are not exported yet.

    ``part`` is the number of its trace; ``stretch_…`` is what has happened since the last epoch or stretch. A loop that
    is over is remembered: if its run is continued, its next trace needs another number.
    """

    run_id: str
    rank: int
    group: str
    start_ns: int
    last_ns: int
    part: int = 1
    spans: int = 0
    updates: int = 0
    counts: dict[str, int] = {}
    stretch_start_ns: int
    stretch_updates: int = 0
    has_stretches: bool = False
    epoch_end_ns: int = 0
    is_over: bool = False

    def root(self, part: int | None = None) -> SpanRef:
        """The root of the trace that is under way, or of an earlier one."""
        trace = run_trace_id(self.run_id, f"loop {part or self.part} {self.rank} {self.group}")
        return trace, span_id(trace, LOOP)

    def attributes(self) -> dict[str, str | int]:
        """Attributes that place a span."""
        return {"esper.run.id": self.run_id, "esper.group.id": self.group, "esper.rank": self.rank}


def lane_key(rank: int, group: str) -> str:
    """Name of a rank and group in the state."""
    return f"{rank}/{group}"


def run_span(run_key: str, group: str) -> SpanRef:
    """The span that marks the start of a run."""
    trace = run_trace_id(run_key, group)
    return trace, span_id(trace, "esper.run")


class State(msgspec.Struct, kw_only=True):
    """State of the projector. ``current`` is the lane of each rank that was active last."""

    lanes: dict[str, Lane] = {}
    loops: dict[str, Loop] = {}
    current: dict[str, str] = {}
    dropped: int = 0
