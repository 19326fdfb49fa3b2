"""Summary of a run's log: when it began and was last heard of, how it ended, its best and last outcome, its settings.

It is made line by line and can be continued behind what was read, so that a log that grew is not read again.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from esper_otel.events import BatchCompleted, EpisodeOutcome, Event, TrainingUpdate

OUTCOMES: Final[dict[str, tuple[tuple[type[Event], str], ...]]] = {
    "reward": ((BatchCompleted, "avg_reward"), (EpisodeOutcome, "episode_reward")),
    "accuracy": ((BatchCompleted, "avg_accuracy"),),
    "loss": ((TrainingUpdate, "loss"),),
}
"""Event and field of each outcome; the first that a run has counts: of a round, an episode or an update."""

IS_BETTER_HIGH: Final = {"reward": True, "accuracy": True, "loss": False}

MAX_SETTING: Final = 200
"""Characters of one setting that are kept."""

Moment = tuple[int, int]
"""Time of a line, and the rank with the sign changed: it orders lines alike in whatever order the ranks are read."""


class Life(msgspec.Struct, array_like=True):
    """One rank as far as its log was read.

    Attributes:
        outcome: how it ended; empty while nothing says so, and again when anything comes after its end.
        heard_us: time of its last line, Unix time in microseconds.
        progress_us: time of its last event other than a heartbeat.
        uptime_s: what its last heartbeat said; negative before the first one of a session.
        sessions: number of its processes, one after the other.
    """

    outcome: str = ""
    heard_us: int = 0
    progress_us: int = 0
    uptime_s: float = -1.0
    sessions: int = 1


class Progress(msgspec.Struct, array_like=True):
    """All that reading on needs.

    Attributes:
        positions: where reading resumes, by source.
        ranks: the ranks by number.
        first_us: time of the first line.
        extents: best and last value, and the moment of the last, by class and field of the event.
        rounds: rounds that were completed.
        updates: updates of the optimiser that made the most.
        settings: what the starts of the training said, each with its moment.
    """

    positions: dict[str, Any] = {}
    ranks: dict[int, Life] = {}
    first_us: int | None = None
    extents: dict[str, tuple[float, float, Moment]] = {}
    rounds: int | None = None
    updates: int | None = None
    settings: dict[str, tuple[Any, Moment]] = {}


class Outcome(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Best and last value of an outcome; None where none was recorded."""

    best: float | None = None
    last: float | None = None


class Summary(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Facts of a log that the list shows.

    Attributes:
        first_us: time of its first line, Unix time in microseconds.
        heard_us: time of its last line.
        progress_us: time of the last event that is no heartbeat, of the ranks that have not ended.
        outcome: the worst end of its ranks once all of them have ended, else empty.
        rounds: rounds that were completed.
        updates: updates of the optimiser that made the most.
        reward: of a round, else of an episode.
        accuracy: of a round, 0 to 100.
        loss: of an update.
        sessions: number of processes of a rank, one after the other.
        ranks: number of ranks.
        settings: hyperparameters, encoded.
    """

    first_us: int | None
    heard_us: int | None
    progress_us: int | None
    outcome: str
    rounds: int | None
    updates: int | None
    reward: Outcome
    accuracy: Outcome
    loss: Outcome
    sessions: int
    ranks: int
    settings: msgspec.Raw
