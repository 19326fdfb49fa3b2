"""Making of a summary out of the lines of a log.

Apart from what it makes, because reading lines takes imports that a list of runs which are all known can do without.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.esper_lite.dialect.recipes import RECIPES
from esper_otel.events import (
    BatchCompleted,
    EpisodeOutcome,
    Event,
    Heartbeat,
    RunEnded,
    TrainingStarted,
    TrainingUpdate,
)
from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log.envelope import Record
from esper_otel.log.reading.processes import is_of_next_process
from esper_otel.runs.summary import IS_BETTER_HIGH, MAX_SETTING, OUTCOMES, Life, Moment, Outcome, Progress, Summary

_NOT_SETTINGS: Final = frozenset(("episode_id", "resume_path", "start_episode", "world_size", "rank", "local_rank"))

_READ: Final = (TrainingStarted, TrainingUpdate, BatchCompleted, EpisodeOutcome, RunEnded, Heartbeat)
LINE_TYPES: Final = frozenset(
    key.split(":")[0] for key, recipe in RECIPES.items() if any(part.cls in _READ for part in recipe)
)
"""Types of the lines that say something here; of the others the time counts alone."""


class Summing:
    """Makes a summary line by line.

    Attributes:
        progress: what was found so far.
        quiet_s: time between the last two lines of a rank; negative where the later one is the first of a process.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        """Go on behind ``progress``."""
        self.progress = progress if progress is not None else Progress()
        self.quiet_s = -1.0

    def add(self, record: Record) -> None:
        """Take one line."""
        progress, at = self.progress, record.timestamp_ns // 1000
        life = progress.ranks.get(record.rank)
        if life is None:
            life = progress.ranks[record.rank] = Life()
        if progress.first_us is None or at < progress.first_us:
            progress.first_us = at
        self.quiet_s = (at - life.heard_us) / 1e6 if life.heard_us else -1.0
        if life.outcome:
            life.outcome, life.uptime_s, self.quiet_s = "", -1.0, -1.0
            life.sessions += 1
        life.heard_us = max(life.heard_us, at)
        events = adapt(record).events if record.event_type in LINE_TYPES else ()
        if not any(type(event) is Heartbeat for event in events) or not life.progress_us:
            life.progress_us = max(life.progress_us, at)
        for event in events:
            act = _ACTS.get(type(event))
            if act is not None:
                act(self, event, life, (at, -record.rank))

    def summary(self, world_size: int | None) -> Summary:
        """The summary of what was read; of an earlier, larger session the ranks from ``world_size`` on do not count."""
        progress = self.progress
        lives = [
            life for rank, life in progress.ranks.items() if world_size is None or rank < world_size or not life.outcome
        ]
        ends = {life.outcome for life in lives}
        has_ended = bool(lives) and "" not in ends
        return Summary(
            first_us=progress.first_us,
            heard_us=max((life.heard_us for life in progress.ranks.values()), default=None),
            progress_us=max((life.progress_us for life in lives if not life.outcome), default=None),
            outcome=next((name for name in reversed(RUN_OUTCOMES) if name in ends), "failed") if has_ended else "",
            rounds=progress.rounds,
            updates=progress.updates,
            reward=self._outcome("reward"),
            accuracy=self._outcome("accuracy"),
            loss=self._outcome("loss"),
            sessions=max((life.sessions for life in progress.ranks.values()), default=0),
            ranks=len(progress.ranks),
            settings=msgspec.Raw(
                msgspec.msgpack.encode({name: value for name, (value, _) in progress.settings.items()})
            ),
        )

    def _outcome(self, name: str) -> Outcome:
        for cls, field in OUTCOMES[name]:
            found = self.progress.extents.get(f"{cls.event_type}.{field}")
            if found is not None:
                return Outcome(*found[:2])
        return Outcome()

    def measure(self, event: Event, moment: Moment) -> None:
        """Take the outcomes that ``event`` has."""
        for name, sources in OUTCOMES.items():
            for cls, field in sources:
                value = getattr(event, field) if type(event) is cls else None
                if value is not None:
                    self._extend(f"{cls.event_type}.{field}", float(value), IS_BETTER_HIGH[name], moment)

    def _extend(self, key: str, value: float, is_better_high: bool, moment: Moment) -> None:
        """Take a value; one that is not finite is never the best."""
        best, last, newest = self.progress.extents.get(key, (value, value, moment))
        if math.isfinite(value) and (not math.isfinite(best) or (value > best) == is_better_high):
            best = value
        self.progress.extents[key] = (best, *((value, moment) if moment >= newest else (last, newest)))


def _started(summing: Summing, event: Event, _: Life, moment: Moment) -> None:
    known = summing.progress.settings
    for name, value in msgspec.to_builtins(event).items():
        if value is None or name in _NOT_SETTINGS or (name in known and known[name][1] > moment):
            continue
        known[name] = _kept(value), moment


def _kept(value: Any) -> Any:
    """A setting as the summary holds it: no list, and no integer beyond those of MessagePack, as seeds may be."""
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        value = str(value)
    return value[:MAX_SETTING] if isinstance(value, str) else value


def _updated(summing: Summing, event: Event, _: Life, moment: Moment) -> None:
    assert isinstance(event, TrainingUpdate)
    summing.progress.updates = _greater(summing.progress.updates, event.update)
    summing.measure(event, moment)


def _completed(summing: Summing, event: Event, _: Life, moment: Moment) -> None:
    assert isinstance(event, BatchCompleted)
    summing.progress.rounds = _greater(summing.progress.rounds, event.batch_idx)
    summing.measure(event, moment)


def _episode(summing: Summing, event: Event, _: Life, moment: Moment) -> None:
    summing.measure(event, moment)


def _ended(summing: Summing, event: Event, life: Life, _: Moment) -> None:
    assert isinstance(event, RunEnded)
    life.outcome = event.outcome if event.outcome in RUN_OUTCOMES else "failed"
    summing.progress.rounds = _greater(summing.progress.rounds, event.rounds)


def _beat(summing: Summing, event: Event, life: Life, _: Moment) -> None:
    assert isinstance(event, Heartbeat)
    if event.uptime_s is not None:
        life.sessions += is_of_next_process(event.uptime_s, life.uptime_s, summing.quiet_s)
        life.uptime_s = event.uptime_s


def _greater(known: int | None, new: int | None) -> int | None:
    return known if new is None else max(new, known or 0)


_ACTS: Final[dict[type[Event], Callable[[Summing, Event, Life, Moment], None]]] = {
    TrainingStarted: _started,
    TrainingUpdate: _updated,
    BatchCompleted: _completed,
    EpisodeOutcome: _episode,
    RunEnded: _ended,
    Heartbeat: _beat,
}
