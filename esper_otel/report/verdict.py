"""The verdict: one sentence about the health of a run, by the limits that the registry declares."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from esper_otel.events import PolicyUpdate, Rollback, UpdateSkipped
from esper_otel.events.declare import Severity
from esper_otel.report.limits import THRESHOLDS, Limit, limits_of
from esper_otel.report.source import Connection, one, rows
from esper_otel.sql.columns import columns_of, literal, quoted

NORM: Final = "pre_clip_grad_norm"


class Grade(StrEnum):
    """How healthy a run is.

    BAD: something happened that must never happen. LOOK: a limit was passed or a detector found something, which a
    learning policy also does now and then. GOOD: neither. UNKNOWN: the log has nothing to judge by.
    """

    BAD = "Unhealthy"
    LOOK = "Needs a look"
    GOOD = "Healthy"
    UNKNOWN = "Not judged"


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
    updates = one(connection, f"SELECT count(*) AS total, count({NORM}) AS normed FROM tamiyo_updates")
    broken, skipped = _not_finite(connection), _number(connection, "tamiyo_update_skipped")
    rollbacks = _number(connection, "rollbacks")
    found = _anomalies(connection)
    violations = _violations(connection)
    findings = [
        *([Finding(f"the run {outcome}", True)] if outcome in {"failed", "died"} else []),
        *_some(broken, "value of a policy update is NaN or infinite", "values of policy updates are NaN or infinite"),
        *_some(skipped, "update was skipped", "updates were skipped"),
        *_some(rollbacks, "rollback", "rollbacks"),
        *violations,
        *(Finding(f"{number} × {kind}", False) for kind, number in found.items()),
    ]
    counts = [
        Count(
            "gradient norms beyond a limit", _beyond(connection, NORM, limits_of(NORM)) if updates["normed"] else None
        ),
        Count("values NaN or infinite", broken if updates["total"] else None),
        Count("updates skipped", skipped),
        Count("rollbacks", rollbacks),
        Count("anomalies", sum(found.values())),
    ]
    return _judged(findings, counts, updates["total"])


def _judged(findings: list[Finding], counts: list[Count], updates: int) -> Verdict:
    if findings:
        grade = Grade.BAD if any(finding.is_bad for finding in findings) else Grade.LOOK
        said = "; ".join(finding.text for finding in sorted(findings, key=lambda finding: not finding.is_bad))
        return Verdict(grade, f"{said}.", counts)
    if not updates:
        return Verdict(Grade.UNKNOWN, "the log holds no policy update and no anomaly.", counts)
    return Verdict(Grade.GOOD, f"{updates} policy updates, all within their limits, and no anomaly.", counts)


def _some(number: int, singular: str, plural: str) -> list[Finding]:
    return [Finding(f"{number} {singular if number == 1 else plural}", True)] if number else []


def _number(connection: Connection, view: str) -> int:
    return int(one(connection, f"SELECT count(*) AS n FROM {view}")["n"])


def _not_finite(connection: Connection) -> int:
    numbers = [quoted(column.name) for column in columns_of(PolicyUpdate) if column.type == "DOUBLE"]
    each = " + ".join(f"count(*) FILTER (NOT isfinite({name}))" for name in numbers)
    return int(one(connection, f"SELECT {each} AS n FROM tamiyo_updates")["n"])


def _anomalies(connection: Connection) -> dict[str, int]:
    """Anomalies of severity warning and above by kind, without those that are counted by themselves."""
    found = rows(
        connection,
        "SELECT coalesce(anomaly_type, lower(event_type)) AS kind, count(*) AS n FROM anomalies"
        " WHERE severity IN ('warning', 'error', 'critical')"
        f" AND event_type NOT IN ({', '.join(literal(cls.event_type) for cls in (Rollback, UpdateSkipped))})"
        " GROUP BY 1 ORDER BY n DESC, kind",
    )
    return {row["kind"]: row["n"] for row in found}


def _violations(connection: Connection) -> list[Finding]:
    """For every field with limits, how many updates were beyond them."""
    return [finding for field in THRESHOLDS if (finding := _violation(connection, field)) is not None]


def _violation(connection: Connection, field: str) -> Finding | None:
    limits = limits_of(field)
    numbers = {limit: _beyond(connection, field, (limit,)) for limit in limits}
    passed = [limit for limit in limits if numbers[limit]]
    if not passed:
        return None
    found = one(connection, f"SELECT count({quoted(field)}) AS total FROM tamiyo_updates")
    worst = one(
        connection,
        f"SELECT {'max' if passed[0].is_above else 'min'}({quoted(field)}) AS value FROM tamiyo_updates"
        f" WHERE isfinite({quoted(field)})",
    )
    said = ", ".join(f"{limit.text} in {numbers[limit]}" for limit in reversed(passed))
    is_bad = field == NORM and passed[0].severity is Severity.CRITICAL
    return Finding(f"{field} {said} of {found['total']} updates (worst {worst['value']:.4g})", is_bad)


def _beyond(connection: Connection, field: str, limits: Sequence[Limit]) -> int:
    """Updates with a finite value of ``field`` beyond any of ``limits``."""
    sides = [f"{quoted(field)} {'>' if limit.is_above else '<'} {limit.value!r}" for limit in limits]
    where = f"isfinite({quoted(field)}) AND ({' OR '.join(sides)})"
    return int(one(connection, f"SELECT count(*) AS n FROM tamiyo_updates WHERE {where}")["n"])
