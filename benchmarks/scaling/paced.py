"""A recorded run at a chosen pace: its rounds over and over, each as long as asked, written by any number of ranks.

What a relay makes of such a log depends on nothing but the log: the machine may be as busy as it likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

BEGINS: Final = "TRAINING_STARTED"
BEGINS_ROUND: Final = "SIMIC_ROUND_STARTED"
ENDS_ROUND: Final = "TOLARIA_BATCH_COMPLETED"
ROUND_FIELDS: Final = ("batch", "batch_idx")
EPISODE_FIELD: Final = "episode_idx"
HEARTBEAT: Final = "HEARTBEAT"
HEARTBEAT_S: Final = 5.0
"""Time between two heartbeats of a living rank; of a recording that was slower, the others are left out."""

Line = dict[str, Any]


class Recording:
    """Rounds of a recorded run of one rank.

    Attributes:
        run_id: its name.
        start: the event with which training starts.
        rounds: events of each round, the one that ends it last.
    """

    def __init__(self, run: Path) -> None:
        """Read the log of ``run``, a run directory.

        Raises:
            ValueError: it holds no start of training or no whole round.
        """
        lines: list[Line] = []
        for path in sorted(run.glob("events*.jsonl")):
            lines += [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]
        starts = [line for line in lines if line["event_type"] == BEGINS]
        self.run_id = run.resolve().name
        self.rounds: list[list[Line]] = []
        current: list[Line] = []
        for line in lines:
            is_first = line["event_type"] == BEGINS_ROUND and not self.rounds
            current = [line] if is_first else [*current, line]
            if line["event_type"] == ENDS_ROUND:
                self.rounds.append(current)
                current = []
        if not starts or not self.rounds:
            raise ValueError(f"{run}: the log holds no start of training or no whole round")
        self.start = starts[0]

    def lines(self, began: datetime, rounds: int, round_s: float, ranks: int) -> Iterator[Line]:
        """``rounds`` rounds of ``round_s`` seconds each from ``began`` on, by ``ranks`` ranks, in order of time."""
        episodes = self.start["data"]["n_envs"]
        for rank in range(ranks):
            yield _moved(self.start, rank, 0, began, 0, 0)
        beats = [began - timedelta(seconds=HEARTBEAT_S)] * ranks
        for number in range(rounds):
            cycle, index = divmod(number, len(self.rounds))
            lines = self.rounds[index]
            first, last = _time(lines[0]), _time(lines[-1])
            shift = cycle * len(self.rounds)
            for line in lines:
                share = (_time(line) - first) / max(last - first, timedelta(microseconds=1))
                at = began + timedelta(seconds=(number + share) * round_s)
                for rank in range(ranks):
                    if line["event_type"] == HEARTBEAT:
                        if at - beats[rank] < timedelta(seconds=HEARTBEAT_S):
                            continue
                        beats[rank] = at
                    yield _moved(line, rank, number, at, shift, shift * episodes)

    def write(self, to: Path, began: datetime, *, rounds: int, round_s: float, ranks: int = 1) -> None:
        """Write :meth:`lines` as a log file."""
        with to.open("wb") as file:
            for line in self.lines(began, rounds, round_s, ranks):
                file.write(msgspec.json.encode(line) + b"\n")


def _time(line: Line) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


def _moved(line: Line, rank: int, number: int, at: datetime, rounds: int, episodes: int) -> Line:
    """``line`` of another rank, round and time, and under an id of its own."""
    data = dict(line["data"])
    for name in ROUND_FIELDS:
        if isinstance(data.get(name), int):
            data[name] += rounds
    if isinstance(data.get(EPISODE_FIELD), int):
        data[EPISODE_FIELD] += episodes
    moved = {**line, "event_id": f"{line['event_id']}-{number}-{rank}", "timestamp": at.isoformat(), "data": data}
    moved["rank"] = rank
    moved.pop("seq", None)
    return moved
