"""Rounds, episodes and epochs: the frame of a trace."""

from __future__ import annotations

from typing import Final

from esper_otel.events import BatchCompleted, EpisodeOutcome, EpochCompleted, Event, PhaseProfile
from esper_otel.log.envelope import Record
from esper_otel.relay.encoding.attributes import AttributeValue, event_attributes
from esper_otel.relay.traces.build import TRUNCATED, SpanSink, lane_attributes
from esper_otel.relay.traces.seeds import SeedSpans
from esper_otel.relay.traces.state import Episode, Lane, Round, SpanRef

MAX_ATTRIBUTES: Final = 100
MAX_ANOMALIES: Final = 16
"""Most anomalies that the status of a round names; a round may have thousands."""

LATE_NS: Final = 2_000_000_000
"""Time that a round waits after its end for anomalies that detectors report late."""


class RoundSpans:
    """Opens and closes rounds and their spans."""

    def __init__(self, sink: SpanSink, seeds: SeedSpans) -> None:
        """Send finished spans to ``sink``; ``seeds`` are closed with their round."""
        self._sink = sink
        self._seeds = seeds

    def episode(self, lane: Lane, current: Round, env: int, episode_idx: int | None) -> Episode:
        """The open episode of ``env``; it began with the round, or where the one before it ended."""
        found = current.episodes.get(str(env))
        if found is None:
            start_ns = current.episode_ends.get(str(env), current.start_ns)
            found = Episode(
                env=env,
                number=current.next_number(f"episode {env}"),
                start_ns=start_ns,
                last_ns=start_ns,
                cut=not current.take(detail=False),
            )
            current.episodes[str(env)] = found
        if episode_idx is not None:
            found.episode_idx = episode_idx
        return found

    def epoch_completed(self, lane: Lane, current: Round, record: Record, event: EpochCompleted) -> SpanRef:
        """An epoch lasts from the end of the one before it to its event."""
        episode = self.episode(lane, current, env_of(event.env_id), event.episode_idx)
        times_ns = current.clamp(episode.last_ns, max(record.timestamp_ns, episode.last_ns))
        episode.last_ns = times_ns[1]
        episode.epochs += 1
        ref = lane.child(current.number, "epoch", episode.env, episode.number, episode.epochs)
        parent = episode_ref(lane, current, episode)
        if episode.cut:
            current.dropped += 1
            return parent
        if not current.take(detail=True):
            return parent
        attributes = {**lane_attributes(lane, current), **scalars(event)}
        self._sink.add("tolaria.epoch", ref, times_ns, attributes, parent=parent)
        return ref

    def episode_ended(self, lane: Lane, current: Round, record: Record, event: EpisodeOutcome) -> SpanRef:
        """An episode ends with its outcome."""
        episode = self.episode(lane, current, env_of(event.env_id), event.episode_idx)
        self._close_episode(lane, current, episode, record.timestamp_ns, scalars(event))
        return episode_ref(lane, current, episode)

    def phases(self, lane: Lane, current: Round, record: Record, event: PhaseProfile) -> None:
        """Lay phases end to end up to the event: it has their durations but not their times."""
        timings = [
            (name, timing.wall_ms) for name, timing in (event.phases or {}).items() if timing.wall_ms is not None
        ]
        end_ns = record.timestamp_ns
        for name, wall_ms in reversed(timings):
            number = current.next_number(f"phase {name}")
            times_ns = current.clamp(end_ns - duration_ns(wall_ms), end_ns)
            end_ns = times_ns[0]
            if not current.take(detail=True):
                continue
            ref = lane.child(current.number, "phase", name, number)
            attributes: dict[str, AttributeValue] = {
                **lane_attributes(lane, current),
                "esper.span.start_estimated": True,
            }
            if event.epoch is not None:
                attributes["tolaria.epoch"] = event.epoch
            parent = lane.root(current.number)
            self._sink.add(f"tolaria.phase.{name[:64]}", ref, times_ns, attributes, parent=parent)

    def batch_completed(self, lane: Lane, current: Round, record: Record, event: BatchCompleted) -> SpanRef:
        """The round ends; its root waits a little for late anomalies."""
        _, current.ended_ns = current.clamp(record.timestamp_ns, record.timestamp_ns)
        self._close_children(lane, current, current.ended_ns)
        current.summary = {key: value for key, value in scalars(event).items() if not isinstance(value, tuple)}
        # Never backwards: a number that came again would name a trace that exists.
        lane.completed = max(current.number, event.batch_idx or 0)
        lane.boundary_ns = current.ended_ns
        return lane.root(current.number)

    def note_anomaly(self, lane: Lane, name: str) -> None:
        """Mark the round that is open, or has just ended, as anomalous."""
        current = lane.round
        if current is not None and name not in current.anomalies and len(current.anomalies) < MAX_ANOMALIES:
            current.anomalies.append(name)

    def close(self, lane: Lane, end_ns: int) -> int:
        """Finish the root of the lane's round; one whose batch did not complete is truncated.

        Returns the number of spans that the round had to leave out.
        """
        current = lane.round
        if current is None:
            return 0
        truncated = current.ended_ns is None
        if truncated:
            _, end_ns = current.clamp(end_ns, end_ns)
            self._close_children(lane, current, end_ns)
            lane.boundary_ns = current.last_ns
            lane.completed = current.number
        if lane.rank == 0:
            self._add_root(lane, current, truncated)
        elif current.anomalies:
            self._add_anomaly(lane, current)
        lane.previous = current.number
        lane.round = None
        return current.dropped

    def _add_root(self, lane: Lane, current: Round, truncated: bool) -> None:
        attributes: dict[str, AttributeValue] = {**lane_attributes(lane, current), **current.summary}
        attributes["esper.round.anomalous"] = bool(current.anomalies)
        attributes["esper.spans.dropped"] = current.dropped
        if truncated:
            attributes[TRUNCATED] = True
        links = [lane.run_span()] + ([] if lane.previous is None else [lane.root(lane.previous)])
        error = ", ".join(current.anomalies) or None
        times_ns = (current.start_ns, current.last_ns)
        self._sink.add("simic.round", lane.root(current.number), times_ns, attributes, links=links, error=error)

    def _add_anomaly(self, lane: Lane, current: Round) -> None:
        """Anomalies of other ranks, which the root, written by rank 0, cannot show."""
        attributes: dict[str, AttributeValue] = {**lane_attributes(lane, current), "esper.round.anomalous": True}
        ref, parent = lane.child(current.number, "anomaly"), lane.root(current.number)
        times_ns = (current.last_ns, current.last_ns)
        error = ", ".join(current.anomalies)
        self._sink.add("simic.round.anomaly", ref, times_ns, attributes, parent=parent, error=error)

    def _close_children(self, lane: Lane, current: Round, end_ns: int) -> None:
        for episode in list(current.episodes.values()):
            self._close_episode(lane, current, episode, end_ns, {TRUNCATED: True})
        self._seeds.truncate_all(lane, current, end_ns)

    def _close_episode(
        self, lane: Lane, current: Round, episode: Episode, end_ns: int, attributes: dict[str, AttributeValue]
    ) -> None:
        del current.episodes[str(episode.env)]
        times_ns = current.clamp(episode.start_ns, max(end_ns, episode.last_ns))
        current.episode_ends[str(episode.env)] = times_ns[1]
        if episode.cut:
            return
        attributes = {**lane_attributes(lane, current), **attributes, "tolaria.env_id": episode.env}
        if episode.episode_idx is not None:
            attributes["tolaria.episode_idx"] = episode.episode_idx
        ref, parent = episode_ref(lane, current, episode), lane.root(current.number)
        self._sink.add("tolaria.episode", ref, times_ns, attributes, parent=parent)


def episode_ref(lane: Lane, current: Round, episode: Episode) -> SpanRef:
    """The span of ``episode``."""
    return lane.child(current.number, "episode", episode.env, episode.number)


def env_of(env_id: int | None) -> int:
    """Number of an environment; -1, esper-lite's placeholder, when the event does not say."""
    return -1 if env_id is None else env_id


def duration_ns(milliseconds: float | None) -> int:
    """A measured time as ns: 0 when it was not measured or makes no sense."""
    return int(milliseconds * 1e6) if milliseconds is not None and 0.0 <= milliseconds < MAX_DURATION_MS else 0


MAX_DURATION_MS: Final = 1e12
"""A longer time is a broken clock (30 years); the bound also keeps infinity out of integers."""


def scalars(event: Event) -> dict[str, AttributeValue]:
    """The single values of an event as attributes."""
    return event_attributes(event, limit=MAX_ATTRIBUTES, maps=False)
