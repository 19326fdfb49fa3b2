"""Rules about the run and its telemetry: how it ended, whether it goes on, what its log lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade, counted
from esper_otel.diagnosis.subject import VALID_ENDS, Row, Subject, clock
from esper_otel.log.reading.standing import STALLED_S

_NEWEST_OF_EACH_RANK: Final = (
    f"SELECT timestamp, rank, outcome, detail FROM ({VALID_ENDS})"
    " QUALIFY row_number() OVER (PARTITION BY rank ORDER BY timestamp DESC) = 1 ORDER BY timestamp"
)
"""Ends that count: a run that was continued has those of its earlier sessions, too."""

_UNUSABLE: Final = "reason NOT IN ('torn', 'duplicate')"
"""A torn line is the end of a process that was killed; a repeated one is an event under its other name."""

_LAST: Final = "SELECT timestamp, rank, outcome, detail FROM run_ended ORDER BY timestamp"


def ended_badly(run: Subject) -> Iterator[Finding]:
    """The run failed, died or was interrupted."""
    if run.is_running:
        return
    ends = run.rows(_NEWEST_OF_EACH_RANK)
    if not ends and run.noted_end is not None:
        ends = [{"timestamp": None, "rank": 0, "outcome": run.noted_end, "detail": None}]
    by_outcome = {str(row["outcome"]): row for row in reversed(ends)}
    if (failed := by_outcome.get("failed")) is not None:
        yield _failed(failed)
    elif "died" in by_outcome or (run.process_gone and not ends):
        yield _died(run, by_outcome.get("died"))
    elif (stopped := by_outcome.get("interrupted")) is not None:
        yield Finding(
            kind="run_interrupted",
            severity=Grade.INFO,
            confidence=Confidence.CERTAIN,
            sentence=f"The run was interrupted: {stopped['detail'] or 'no reason is recorded'}.",
            when=clock(stopped["timestamp"]),
            query=_LAST,
        )


def _failed(row: Row) -> Finding:
    detail = str(row["detail"] or "no exception is recorded")
    return Finding(
        kind="run_failed",
        severity=Grade.CRITICAL,
        confidence=Confidence.CERTAIN,
        sentence=f"The run failed on rank {row['rank']}: {_short(detail)}",
        when=clock(row["timestamp"]),
        who={"rank": str(row["rank"])},
        cause=_short(detail),
        query=_LAST,
    )


def _short(text: str) -> str:
    line = next((line for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= 200 else f"{line[:200]}…"


def _died(run: Subject, row: Row | None) -> Finding:
    last = run.one(
        "SELECT max(timestamp) AS at FROM (SELECT timestamp FROM heartbeat UNION ALL SELECT timestamp FROM last_seen)"
    )["at"]
    memory = run.rows("SELECT process_memory_bytes AS n FROM infrastructure ORDER BY timestamp DESC LIMIT 1")
    evidence = [Figure("last resident memory", memory[0]["n"] / 2**20, "MiB")] if memory and memory[0]["n"] else []
    return Finding(
        kind="run_died",
        severity=Grade.CRITICAL,
        confidence=Confidence.CERTAIN,
        sentence="The training process is gone and did not end its run: it was killed, or crashed in native code.",
        evidence=evidence,
        when=clock(row["timestamp"] if row else last),
        query="SELECT timestamp, rank, event_type, message FROM raw_events ORDER BY timestamp DESC LIMIT 20",
    )


def lost(run: Subject) -> Iterator[Finding]:
    """Events that the log dropped, lines that nobody can read, sensors that failed."""
    dropped = run.rows("SELECT reason, sum(count) AS n, min(timestamp) AS at FROM losses GROUP BY 1 ORDER BY n DESC")
    for row in dropped:
        yield Finding(
            kind="events_lost",
            severity=Grade.WARNING,
            confidence=Confidence.CERTAIN,
            sentence=f"The log dropped {counted(int(row['n'] or 0), 'event')} or parts of them: {row['reason']}.",
            evidence=[Figure("dropped", int(row["n"] or 0), "events")],
            when=clock(row["at"]),
            query="SELECT timestamp, reason, count, detail FROM losses",
        )
    bad = run.count("rejected_lines", _UNUSABLE)
    if bad:
        yield Finding(
            kind="lines_rejected",
            severity=Grade.WARNING,
            confidence=Confidence.CERTAIN,
            sentence=f"{counted(bad, 'line')} of the log could not be used.",
            evidence=[Figure("lines", bad)],
            query=f"SELECT reason, event_type, excerpt FROM rejected_lines WHERE {_UNUSABLE} LIMIT 20",
        )
    for row in run.rows("SELECT sensor, reason, sum(count) AS n FROM sensor_fault GROUP BY ALL ORDER BY ALL"):
        yield Finding(
            kind="sensor_fault",
            severity=Grade.INFO,
            confidence=Confidence.CERTAIN,
            sentence=f"The sensor {row['sensor']} did not measure everything: {row['reason']}.",
            evidence=[Figure("times", int(row["n"] or 0))],
            query="SELECT timestamp, sensor, reason, count, detail FROM sensor_fault",
        )


def stalled(run: Subject) -> Iterator[Finding]:
    """A running process whose log has only heartbeats."""
    if not run.is_running:
        return
    found = run.one(
        "SELECT date_diff('millisecond', (SELECT max(timestamp) FROM last_seen), max(timestamp)) / 1000 AS quiet_s,"
        " max(timestamp) AS alive FROM heartbeat"
    )
    if found["quiet_s"] is not None and found["quiet_s"] > STALLED_S:
        yield Finding(
            kind="run_stalled",
            severity=Grade.CRITICAL,
            confidence=Confidence.HIGH,
            sentence=f"The process is alive but has emitted nothing for {found['quiet_s']:.0f} s.",
            evidence=[Figure("since the last event", float(found["quiet_s"]), "s")],
            when=clock(found["alive"]),
            query="SELECT rank, max(timestamp) AS newest, count(*) AS events FROM raw_events GROUP BY rank",
        )
