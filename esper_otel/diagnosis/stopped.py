"""The rule about a rank that stopped while its process lives: which, since when, in which phase, with its stack.

Two signs: the process no longer gives a sign of life, which a thread of its own does every few seconds (it is stopped,
swapped out, or holds the interpreter lock); or no rank makes progress, and by the recorded stacks all but one wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade
from esper_otel.diagnosis.subject import Subject, clock
from esper_otel.log import manifest
from esper_otel.log.reading.standing import STALLED_S, proving_silence_s
from esper_otel.stacks.owners import owner_of
from esper_otel.stacks.phase import COLLECTIVE, place_of
from esper_otel.stacks.record import Recorded, load

_WAITS: Final = frozenset({COLLECTIVE, "backward"})
"""Phases in which a rank waits for the others."""

_QUERY: Final = (
    "SELECT rank, max(timestamp) AS newest, count(*) AS events FROM raw_events GROUP BY rank ORDER BY newest"
)
_LAST: Final = (
    "SELECT rank, max(timestamp) AS heard, max(timestamp) FILTER (is_progress) AS progress FROM (SELECT rank,"
    " timestamp, false AS is_progress FROM heartbeat UNION ALL SELECT rank, timestamp, true FROM last_seen)"
    " GROUP BY rank ORDER BY rank"
)


class Rank(msgspec.Struct, frozen=True):
    """One living rank: its last line, its last event other than a heartbeat, and its stack since."""

    rank: int
    pid: int | None
    heard: datetime
    progress: datetime
    recorded: Recorded | None


def stopped(run: Subject) -> Iterator[Finding]:
    """A rank of a running run has stopped."""
    if run.directory is None or not run.is_running:
        return
    now = datetime.now(UTC).replace(tzinfo=None)
    limit_s = proving_silence_s(_manifest(run), STALLED_S)
    ranks = list(_living(run))
    # a rank of another machine has another clock, of which nothing is known
    silent = [each for each in ranks if each.pid is not None and (now - each.heard).total_seconds() > limit_s]
    for each in silent:
        yield _finding(each, each.heard, now, "gives no sign of life", len(ranks))
    if not silent and len(ranks) > 1:
        yield from _hanging(ranks, now)


def _hanging(ranks: list[Rank], now: datetime) -> Iterator[Finding]:
    """The one rank that does not wait for others, where none makes progress."""
    if min((now - each.progress).total_seconds() for each in ranks) < STALLED_S:
        return
    known = [each for each in ranks if each.recorded is not None]
    own = [each for each in known if each.recorded is not None and each.recorded.phase not in _WAITS]
    if len(known) == len(ranks) and len(own) == 1:
        yield _finding(own[0], own[0].progress, now, "does not go on, and the others wait for it", len(ranks))


def _living(run: Subject) -> Iterator[Rank]:
    assert run.directory is not None
    for row in run.rows(_LAST):
        owner = owner_of(run.directory, row["rank"])
        if owner is None:
            continue
        heard, progress = row["heard"], row["progress"] or row["heard"]
        recorded = load(run.directory, row["rank"])
        is_since = recorded is not None and _moment(recorded.taken_ns) > progress
        yield Rank(row["rank"], owner.pid, heard, progress, recorded if is_since else None)


def _moment(nanoseconds: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(microseconds=nanoseconds // 1000)  # as in the views


def _manifest(run: Subject) -> dict[str, object]:
    assert run.directory is not None
    return manifest.read_or_tell(run.directory, lambda _: None)


def _finding(each: Rank, since: datetime, now: datetime, happened: str, ranks: int) -> Finding:
    recorded = each.recorded
    phase = recorded.phase if recorded is not None else None
    place = place_of(recorded.threads) if recorded is not None else None
    who = {"rank": str(each.rank), "phase": phase or "", "pid": str(each.pid or "")}
    return Finding(
        kind="rank_stopped",
        severity=Grade.CRITICAL,
        confidence=Confidence.HIGH,
        sentence=f"Rank {each.rank} of {ranks} {happened}{f', in {phase}' if phase else ''}; its process lives.",
        evidence=[Figure("since its last sign", (now - since).total_seconds(), "s"), Figure("living ranks", ranks)],
        when=f"since {clock(since)}",
        who={name: value for name, value in who.items() if value},
        cause=f"its main thread is at {place.text}" if place is not None else "",
        stack=[frame.text for frame in recorded.threads[0].frames] if recorded is not None and recorded.threads else [],
        query=_QUERY,
    )
