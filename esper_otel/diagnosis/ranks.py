"""Rules about the ranks of one training: the slow one, the one that is gone, those that do not keep step.

A rank's own work is what it does before it can wait for others: data, forward, optimizer; in the backward pass of a
data-parallel model every rank waits for the last one, so that the slow rank has the shortest. Both must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade
from esper_otel.diagnosis.subject import VALID_ENDS, Subject, clock
from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log.reading.standing import end_beside

LAG: Final = 0.2
"""Time by which a rank's own work exceeds that of the others, over their step, from which on it slows them down."""

WAITED: Final = 0.5
"""Share of that time which the others must be seen to wait."""

STEP: Final = "step without the slowness"
LEAST_STEPS: Final = 30

RECENT_S: Final = 10
"""End of a run that goes on which is judged for itself, s, or its last :data:`LEAST_STEPS` steps if they took longer: a
rank that is slow since a moment ago does not show in the means of an hour."""

BEHIND: Final = 0.02
"""Share of the updates by which ranks may differ when a run is read: the last ones are being written."""

_BY_STEP: Final = (
    "SELECT rank, p AS phase, median(list_avg(durations_s[p])) AS seconds FROM (SELECT rank, durations_s,"
    " unnest(map_keys(durations_s)) AS p FROM tolaria_phase_durations) GROUP BY ALL ORDER BY ALL"
)
_BY_ROUND: Final = (
    "SELECT rank, phase, median(ms) / 1000 AS seconds FROM (SELECT rank, unnest(map_keys(phases)) AS phase,"
    " unnest(map_values(phases)).wall_ms AS ms FROM phase_profiles) GROUP BY ALL ORDER BY ALL"
)

_WAITS: Final = "backward"
_UPDATE: Final = "ppo_update"

_LATE: Final = f"""
    WITH e AS (SELECT rank, timestamp, list_max([len(durations_s[p]) FOR p IN map_keys(durations_s) IF p <> '{_WAITS}'])
    AS n FROM tolaria_phase_durations), s AS (SELECT rank, timestamp, sum(n) OVER (PARTITION BY rank ORDER BY timestamp
    DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS later FROM e), r AS (SELECT max(timestamp) AS last,
    max(timestamp) FILTER (later >= {LEAST_STEPS}) AS before FROM s GROUP BY rank)
    SELECT least(min(before), max(last) - INTERVAL {RECENT_S} SECOND) AS begins, epoch(max(last) - begins) AS seconds
    FROM r HAVING count(*) = count(before)
"""
"""The time after which every rank made enough steps, :data:`RECENT_S` before the last report or earlier."""


class Work(msgspec.Struct, frozen=True):
    """One rank's mean time in a step, s: by phase of its own work, and in the phase in which it waits for others."""

    rank: int
    steps: int
    own: dict[str, float]
    waiting: float

    @property
    def total_s(self) -> float:
        """Own time in a step, s."""
        return sum(self.own.values())


def straggler(run: Subject) -> Iterator[Finding]:
    """One rank is slower than the others in its own work, and they wait for it: of late, or over the whole run."""
    late = run.rows(_LATE) if run.is_running else []
    if late and (found := _slowest(_of_loops(run, late[0]["begins"]))) is not None:
        yield msgspec.structs.replace(found, when=f"in the last {late[0]['seconds']:.0f} s")
    elif (found := _slowest(_of_loops(run))) is not None:
        yield found
    if (found := _slowest(_of_rounds(run))) is not None:
        yield msgspec.structs.replace(found, query=_BY_ROUND)


def _of_loops(run: Subject, after: datetime = datetime.min) -> list[Work]:
    """Means without the slowest twentieth of the passes: a pause of the collector or a page fault is no pace."""
    rows = run.rows(
        "WITH p AS (SELECT rank, unnest(map_keys(durations_s)) AS phase, unnest(map_values(durations_s)) AS passes FROM"
        " tolaria_phase_durations WHERE timestamp > ?), d AS (SELECT rank, phase, unnest(passes) AS s FROM p), q AS"
        " (SELECT rank, phase, s, quantile_cont(s, 0.95) OVER (PARTITION BY rank, phase) AS most FROM d)"
        " SELECT rank, phase, count(*) AS n, avg(s) FILTER (s <= most) AS mean, sum(s) AS total FROM q GROUP BY ALL"
        " ORDER BY ALL",
        after,
    )
    return _works([(row["rank"], row["phase"], row["n"], row["mean"]) for row in rows], _WAITS)


def _of_rounds(run: Subject) -> list[Work]:
    """Epochs of environments, each by phase; the update of the policy is where ranks wait."""
    rows = run.rows(
        "SELECT rank, phase, count(*) AS n, median(ms) / 1000 AS mean FROM (SELECT rank, unnest(map_keys(phases)) AS"
        " phase,"
        " unnest(map_values(phases)).wall_ms AS ms FROM phase_profiles) WHERE ms IS NOT NULL GROUP BY ALL ORDER BY ALL"
    )
    return _works([(row["rank"], row["phase"], row["n"], row["mean"]) for row in rows], _UPDATE)


def _works(rows: list[tuple[int, str, int, float]], waits: str) -> list[Work]:
    found = []
    for rank in sorted({row[0] for row in rows}):
        own = {phase: mean for of, phase, _, mean in rows if of == rank and phase != waits and mean is not None}
        waiting = next((mean for of, phase, _, mean in rows if of == rank and phase == waits), 0.0)
        steps = max((n for of, phase, n, _ in rows if of == rank and phase != waits), default=0)
        found.append(Work(rank, steps, own, waiting or 0.0))
    return found


def _slowest(works: list[Work]) -> Finding | None:
    if len(works) < 2:
        return None
    slow = max(works, key=lambda work: work.total_s)
    others = [work for work in works if work is not slow]
    usual = max(others, key=lambda work: work.total_s)  # the next slowest: the others wait for it as well
    lag = slow.total_s - usual.total_s
    waited = min(work.waiting for work in others) - slow.waiting
    step = usual.total_s + slow.waiting
    if min(work.steps for work in works) < LEAST_STEPS or lag < LAG * step or waited < WAITED * lag:
        return None
    phase = max(slow.own, key=lambda name: slow.own[name] - usual.own.get(name, 0.0))
    return Finding(
        kind="straggler",
        severity=Grade.WARNING,
        confidence=Confidence.HIGH,
        sentence=f"Rank {slow.rank} is {1e3 * lag:.3g} ms slower in each step than any other, in {phase}; they wait"
        " for it.",
        evidence=[
            Figure(f"own time of rank {slow.rank}", 1e3 * slow.total_s, "ms"),
            Figure("own time of the next slowest", 1e3 * usual.total_s, "ms"),
            Figure("longer wait of the others", 1e3 * waited, "ms"),
            Figure(STEP, 1e3 * step, "ms"),
            Figure("steps", slow.steps),
        ],
        who={"rank": str(slow.rank), "phase": phase},
        cause=_CAUSES.get(phase, ""),
        query=_BY_STEP,
    )


_CAUSES: Final = {
    "data_wait": "its data loader is slow",
    "before_backward": "what it does between two steps, or its forward pass, is slow",
}


def missing(run: Subject) -> Iterator[Finding]:
    """A rank is gone without an end of its own, while others ended or go on."""
    ranks = run.rows(
        "SELECT s.rank, max(s.timestamp) AS last, any_value(e.outcome) AS outcome FROM (FROM last_seen UNION ALL"
        " SELECT rank, timestamp FROM heartbeat) s LEFT JOIN (SELECT rank, max_by(outcome, timestamp) AS outcome"
        f" FROM ({VALID_ENDS}) WHERE coalesce(reported_by, 'trainer') = 'trainer' GROUP BY 1) e USING (rank)"
        " GROUP BY s.rank ORDER BY 1"
    )
    gone = [row for row in ranks if row["outcome"] is None and _is_gone(run, row["rank"])]
    if not gone or len(gone) == len(ranks):
        return
    for row in gone:
        yield Finding(
            kind="rank_missing",
            severity=Grade.CRITICAL,
            confidence=Confidence.CERTAIN,
            sentence=f"Rank {row['rank']} of {len(ranks)} is gone: its process ended without a word.",
            evidence=[Figure("ranks", len(ranks)), Figure("gone", len(gone))],
            when=f"last heard of at {clock(row['last'])}",
            who={"rank": str(row["rank"])},
            cause="killed (out of memory, a signal), or crashed in native code",
            query="SELECT rank, max(timestamp) AS newest, count(*) AS events FROM raw_events GROUP BY rank ORDER BY"
            " rank",
        )


def _is_gone(run: Subject, rank: int) -> bool:
    return run.directory is not None and end_beside(run.directory, [rank], run.content) == RUN_OUTCOMES[-1]


def differ(run: Subject) -> Iterator[Finding]:
    """Ranks of one model that have made different numbers of updates."""
    rows = run.rows(
        "SELECT model, min(n) AS least, max(n) AS most, min_by(rank, n) AS rank, count(*) AS ranks FROM (SELECT"
        " model, rank,"
        ' max("update") AS n FROM tolaria_training_update GROUP BY ALL) GROUP BY model'
    )
    for row in rows:
        if row["ranks"] > 1 and row["most"] - row["least"] > max(BEHIND * row["most"], 10) and not run.is_running:
            yield Finding(
                kind="ranks_differ",
                severity=Grade.WARNING,
                confidence=Confidence.HIGH,
                sentence=f"Ranks made {row['least']} to {row['most']} updates of {row['model']}; rank {row['rank']}"
                " the fewest.",
                evidence=[Figure("fewest", row["least"]), Figure("most", row["most"])],
                who={"rank": str(row["rank"])},
                query='SELECT model, rank, max("update") AS updates FROM tolaria_training_update GROUP BY ALL',
            )
