"""The verdict: one sentence about the health of a run, based on the registry's limits."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from esper_otel.diagnosis.finding import Diagnosis
from esper_otel.diagnosis.finding import Grade as Severe
from esper_otel.diagnosis.updates import UNDEFINED_ALONE
from esper_otel.events import BatchStats, Event, NumericalInstability, PolicyUpdate, Rollback, UpdateSkipped
from esper_otel.events.declare import Severity
from esper_otel.events.policy_critic import FAILING_LEAST, FAILING_SHARE, UNDEFINED_WHERE_ALIKE
from esper_otel.report.limits import THRESHOLDS, UPDATES, Limit, event_with, limits_of
from esper_otel.report.source import Connection, one, rows
from esper_otel.sql.views.columns import columns_of, literal, quoted
from esper_otel.sql.views.view import view_name

NORM: Final = "pre_clip_grad_norm"
EXPLAINED: Final = UNDEFINED_WHERE_ALIKE
NORMS: Final = (NORM, "grad_norm_excess")
"""Norm of a policy's update, whose size is known; of any other, how far it is above the largest of late."""


class Grade(StrEnum):
    """Grade of a run's health.

    BAD: something happened that must never happen. LOOK: a limit was passed or a detector found something, which a
    learning policy also does now and then. GOOD: neither. UNKNOWN: the log has no data for a verdict.
    """

    BAD = "Unhealthy"
    LOOK = "Needs a look"
    GOOD = "Healthy"
    UNKNOWN = "Not judged"


_GRADES: Final[dict[Severe | None, Grade]] = {Severe.CRITICAL: Grade.BAD, Severe.WARNING: Grade.LOOK}


class Finding(msgspec.Struct, frozen=True):
    """A reason for the verdict; ``is_bad`` when it must never happen."""

    text: str
    is_bad: bool


class Count(msgspec.Struct, frozen=True):
    """One number under the verdict; ``number`` is None when it was not measured."""

    name: str
    number: int | None


class Verdict(msgspec.Struct, frozen=True):
    """The grade, the sentence and the numbers behind it."""

    grade: Grade
    sentence: str
    counts: list[Count]


def verdict_of(connection: Connection, outcome: str | None) -> Verdict:
    """The verdict over all arms. ``outcome`` is how the run ended, None when that is not known."""
    total, normed = _totals(connection)
    broken, skipped = _not_finite(connection), _number(connection, "tamiyo_update_skipped")
    rollbacks = _number(connection, "rollbacks")
    found = _anomalies(connection)
    violations = _violations(connection)
    findings = [
        *([Finding(f"the run {outcome}", True)] if outcome in {"failed", "died"} else []),
        *_some(broken, "value of an update is NaN or infinite", "values of updates are NaN or infinite"),
        *_some(skipped, "update was skipped", "updates were skipped"),
        *_some(rollbacks, "rollback", "rollbacks"),
        *violations,
        *(Finding(f"{number} × {kind}", False) for kind, number in found.items()),
    ]
    counts = [
        Count(
            "gradient norms beyond a limit",
            sum(_beyond(connection, field, limits_of(field)) for field in NORMS) if normed else None,
        ),
        Count("values NaN or infinite", broken if total or skipped else None),
        Count("updates skipped", skipped),
        Count("rollbacks", rollbacks),
        Count("anomalies", sum(found.values())),
    ]
    return _judged(findings, counts, total)


def agreeing(verdict: Verdict, diagnosis: Diagnosis | None) -> Verdict:
    """The verdict, or that of the diagnosis on the same page where it is worse."""
    if diagnosis is None or diagnosis.severity not in _GRADES:
        return verdict
    grade = _GRADES[diagnosis.severity]
    if verdict.grade is grade or verdict.grade is Grade.BAD:
        return verdict
    return Verdict(grade, diagnosis.verdict, verdict.counts)


def _totals(connection: Connection) -> tuple[int, int]:
    """Number of updates, of a policy and of any other model, and of those with a gradient norm."""
    union = " UNION ALL ".join(f"SELECT {NORM} FROM {view_name(event)}" for event in UPDATES)
    found = one(connection, f"SELECT count(*) AS total, count({NORM}) AS normed FROM ({union})")
    return found["total"], found["normed"]


def _judged(findings: list[Finding], counts: list[Count], updates: int) -> Verdict:
    if findings:
        grade = Grade.BAD if any(finding.is_bad for finding in findings) else Grade.LOOK
        said = "; ".join(finding.text for finding in sorted(findings, key=lambda finding: not finding.is_bad))
        return Verdict(grade, f"{said}.", counts)
    if not updates:
        return Verdict(Grade.UNKNOWN, "the log contains no update and no anomaly.", counts)
    return Verdict(Grade.GOOD, f"{updates} updates, all within their limits, and no anomaly.", counts)


def _some(number: int, singular: str, plural: str) -> list[Finding]:
    return [Finding(f"{number} {singular if number == 1 else plural}", True)] if number else []


def _number(connection: Connection, view: str) -> int:
    return int(one(connection, f"SELECT count(*) AS n FROM {view}")["n"])


def _not_finite(connection: Connection) -> int:
    """Values of updates that are NaN or infinite, also where the update was skipped for it.

    esper-lite sends no update then, but the figures of the batch, with the NaN in them.
    """
    return sum(_not_finite_in(connection, event) for event in (*UPDATES, UpdateSkipped, BatchStats))


def _not_finite_in(connection: Connection, event: type[Event]) -> int:
    numbers = [quoted(column.name) for column in columns_of(event) if column.type == "DOUBLE"]
    if event is PolicyUpdate:  # has no value where all returns are alike, and returns that are NaN make a loss so
        numbers.remove(quoted(EXPLAINED))
    each = " + ".join(f"count(*) FILTER (NOT isfinite({name}))" for name in numbers)
    where = " WHERE skipped_update" if event is BatchStats else ""  # else they are the update's own, said twice
    return int(one(connection, f"SELECT {each} AS n FROM {view_name(event)}{where}")["n"])


def _anomalies(connection: Connection) -> dict[str, int]:
    """Anomalies of severity warning and above by kind, without those that are counted separately."""
    found = rows(
        connection,
        "SELECT coalesce(anomaly_type, lower(event_type)) AS kind, count(*) AS n FROM anomalies d"
        " WHERE severity IN ('warning', 'error', 'critical')"
        f" AND event_type NOT IN ({', '.join(literal(cls.event_type) for cls in (Rollback, UpdateSkipped))})"
        f" AND NOT (event_type = {literal(NumericalInstability.event_type)} AND {UNDEFINED_ALONE})"
        " GROUP BY 1 ORDER BY n DESC, kind",
    )
    return {row["kind"]: row["n"] for row in found}


def _violations(connection: Connection) -> list[Finding]:
    """Number of updates beyond the limits, for every field with limits."""
    each = (_critic(connection) if field == EXPLAINED else _violation(connection, field) for field in THRESHOLDS)
    return [finding for finding in each if finding is not None]


def _critic(connection: Connection) -> Finding | None:
    """Judgement of the critic as by the alert, on the second half of each rank's updates: it is low at the start."""
    limit = THRESHOLDS[EXPLAINED].critical_below
    found = one(
        connection,
        f"SELECT count(*) AS total, count(*) FILTER ({EXPLAINED} < {limit!r}) AS low, min({EXPLAINED}) AS worst FROM"
        f" (SELECT {EXPLAINED}, row_number() OVER arm AS number, count(*) OVER (PARTITION BY run_id, group_id, rank) AS"
        f" updates FROM {view_name(event_with(EXPLAINED))} WHERE isfinite({EXPLAINED})"
        " AND ev_low_return_variance IS NOT TRUE"
        " WINDOW arm AS (PARTITION BY run_id, group_id, rank ORDER BY timestamp)) WHERE 2 * number > updates",
    )
    if found["total"] < FAILING_LEAST or found["low"] <= FAILING_SHARE * found["total"]:
        return None
    said = f"below {limit:g} in {found['low']} of the last {found['total']} updates (worst {found['worst']:.4g})"
    return Finding(f"{EXPLAINED} {said}", False)


def _violation(connection: Connection, field: str) -> Finding | None:
    limits = limits_of(field)
    numbers = {limit: _beyond(connection, field, (limit,)) for limit in limits}
    passed = [limit for limit in limits if numbers[limit]]
    if not passed:
        return None
    view = view_name(event_with(field))
    found = one(connection, f"SELECT count({quoted(field)}) AS total FROM {view}")
    worst = one(
        connection,
        f"SELECT {'max' if passed[0].is_above else 'min'}({quoted(field)}) AS value FROM {view}"
        f" WHERE isfinite({quoted(field)})",
    )
    said = ", ".join(f"{limit.text} in {numbers[limit]}" for limit in reversed(passed))
    is_bad = field in NORMS and passed[0].severity is Severity.CRITICAL
    return Finding(f"{field} {said} of {found['total']} updates (worst {worst['value']:.4g})", is_bad)


def _beyond(connection: Connection, field: str, limits: Sequence[Limit]) -> int:
    """Updates with a finite value of ``field`` beyond any of ``limits``."""
    sides = [f"{quoted(field)} {'>' if limit.is_above else '<'} {limit.value!r}" for limit in limits]
    where = f"isfinite({quoted(field)}) AND ({' OR '.join(sides)})"
    return int(one(connection, f"SELECT count(*) AS n FROM {view_name(event_with(field))} WHERE {where}")["n"])
