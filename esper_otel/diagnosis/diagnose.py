"""Diagnosis of a run: every rule is asked, the findings are ranked, the verdict is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Final

import duckdb

from esper_otel.diagnosis import (
    collectives,
    critic,
    exploration,
    life,
    losses,
    machine,
    policy,
    ranks,
    stopped,
    updates,
)
from esper_otel.diagnosis.finding import ORDER, Confidence, Diagnosis, Figure, Finding, Grade
from esper_otel.diagnosis.subject import VIEWS, Subject, restrict, subject_of
from esper_otel.runs.archived import name_of
from esper_otel.sql import connect
from esper_otel.sql.connect import MEMORY_LIMIT

Rule = Callable[[Subject], Iterable[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    life.ended_badly,
    life.stalled,
    ranks.missing,
    stopped.stopped,
    collectives.waiting,
    collectives.differing,
    updates.not_finite,
    updates.exploding,
    losses.diverged,
    updates.vanishing,
    updates.dead_layers,
    exploration.entropy,
    exploration.wrong_sign,
    policy.trust_region,
    critic.failing,
    critic.without_gradient,
    policy.skipped,
    policy.rewards,
    policy.outcomes,
    policy.seeds,
    ranks.straggler,
    collectives.late,
    ranks.differ,
    machine.input_bound,
    machine.input_bound_updates,
    machine.memory,
    machine.compiler,
    machine.gpu,
    life.lost,
    collectives.unreadable,
)
"""Every rule; of findings of equal weight that of an earlier one comes first."""

LEAST_UPDATES: Final = 10
"""Fewer updates are too little for a verdict on learning."""

_CONFIDENCE: Final = {Confidence.CERTAIN: 0, Confidence.HIGH: 1, Confidence.MEDIUM: 2}


def diagnose(
    run: str | PathLike[str],
    *,
    since: timedelta | None = None,
    memory_limit: str = MEMORY_LIMIT,
    tell: Callable[[str], object] = lambda _: None,
) -> Diagnosis:
    """The diagnosis of a run; its log is only read.

    Args:
        run: run directory, log file (also ``.gz``, ``.zst``), or directory of Parquet files.
        since: look at no more than this time before the last event.
        memory_limit: DuckDB's own limit.
        tell: called with a sentence for people where a part of the run cannot be read.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``.
        ValueError: Parquet files there are invalid.
    """
    with connect([run], memory_limit, views=VIEWS, tell=tell, all_rejected=False) as connection:
        last = connection.execute(f"SELECT max(timestamp) FROM ({LAST_SEEN})").fetchall()[0][0]
        if since is not None and isinstance(last, datetime):
            restrict(connection, last - since)
        return diagnosed(connection, Path(run), tell)


def diagnosed(
    connection: duckdb.DuckDBPyConnection, run: Path, tell: Callable[[str], object] = lambda _: None
) -> Diagnosis:
    """The diagnosis of the run at ``run`` on a connection that has its views :data:`.subject.VIEWS`."""
    subject = subject_of(connection, run, tell)
    connection.execute(f"CREATE TEMP VIEW last_seen AS {LAST_SEEN}")
    return judged(subject, name_of(run))


LAST_SEEN: Final = " UNION ALL ".join(
    f"SELECT rank, timestamp FROM {view}"
    for view in (
        "tolaria_training_update",
        "tamiyo_updates",
        "tolaria_epochs",
        "tolaria_phase_durations",
        "episode_outcomes",
    )
)
"""Signs of progress: what a process emits while it trains, heartbeats left out."""


def judged(subject: Subject, name: str) -> Diagnosis:
    """The verdict on ``subject``, whose connection has the view ``last_seen``."""
    found = [finding for rule in RULES for finding in rule(subject)]
    found.sort(key=lambda finding: (ORDER[finding.severity], _CONFIDENCE[finding.confidence]))
    evidence = _evidence(subject)
    total = sum(int(figure.value) for figure in evidence if figure.name in {"updates", "policy updates"})
    is_judged = total >= LEAST_UPDATES or any(each.severity is not Grade.INFO for each in found)
    return Diagnosis(name, subject.state, _verdict(found, evidence, total), is_judged, evidence, found, _blind(subject))


def _verdict(found: list[Finding], evidence: list[Figure], updates: int) -> str:
    bad = [finding for finding in found if finding.severity is not Grade.INFO]
    if bad:
        more = f" ({len(bad) - 1} more below)" if len(bad) > 1 else ""
        return f"{bad[0].sentence}{more}"
    if updates < LEAST_UPDATES:
        return f"Too little for a verdict: {updates} updates, and {LEAST_UPDATES} are needed."
    return f"Healthy: {', '.join(figure.text for figure in evidence)}."


def _evidence(run: Subject) -> list[Figure]:
    """Numbers that a healthy verdict stands on; what was not measured is not there."""
    loop = run.one(
        "SELECT count(*) AS n, max(pre_clip_grad_norm) AS norm, last(loss ORDER BY timestamp) AS loss,"
        " count(DISTINCT rank) AS ranks FROM tolaria_training_update"
    )
    own = run.one(
        "SELECT count(*) AS n, max(pre_clip_grad_norm) AS norm, max(kl_divergence) AS kl,"
        " last(explained_variance ORDER BY timestamp) AS ev FROM tamiyo_updates"
    )
    rounds = run.one("SELECT count(*) AS n, max(rolling_accuracy) AS best FROM tolaria_batches")
    figures = [
        Figure("updates", loop["n"]),
        Figure("largest gradient norm", loop["norm"]),
        Figure("last loss", loop["loss"]),
        Figure("policy updates", own["n"]),
        Figure("largest norm of the policy", own["norm"]),
        Figure("largest KL", own["kl"], "nats"),
        Figure("last explained variance", own["ev"]),
        Figure("rounds", rounds["n"]),
        Figure("best rolling accuracy", rounds["best"], "%"),
    ]
    return [figure for figure in figures if figure.value is not None and figure.value != 0]


def _blind(run: Subject) -> list[str]:
    """Rules that had nothing to look at."""
    unknown = [] if run.state or run.count("run_ended") else [_NO_END]
    return [*unknown, *(text for view, text in _NEEDS.items() if not run.count(view) and not _is_told(run, view))]


def _is_told(run: Subject, view: str) -> bool:
    """True where other events say what ``view`` lacks: esper-lite's updates have their share of waiting."""
    return view == "tolaria_throughput" and run.count("tamiyo_updates", "dataloader_wait_ratio IS NOT NULL") > 0


_NO_END: Final = "end: neither the log nor anything beside it says how the run ended, or that it goes on"
_NEEDS: Final = {
    "tamiyo_updates": "policy: no policy update was recorded",
    "tolaria_throughput": "input: no throughput was recorded",
    "tolaria_gradient_stats": "layers: no gradient was recorded by layer",
    "tolaria_phase_durations": "slow ranks: the time of a step by phase was not recorded",
    "infrastructure": "memory: no snapshot of the machine was recorded",
}
