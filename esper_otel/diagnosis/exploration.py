"""Rules about exploration: a policy, or one head of it, that has become deterministic, and the step that did it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from esper_otel.alerts.kinds import BY_NAME
from esper_otel.alerts.promql import threshold
from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade
from esper_otel.diagnosis.subject import Subject, clock, when_of

_U: Final = "tamiyo_updates"

COLLAPSED: Final = threshold("tamiyo.head_entropy").critical_below or 0.0
"""Entropy of a head over its maximum, as the alert; for a policy without heads, over what it had at first."""

LEAST_LATE: Final = BY_NAME["TamiyoHeadEntropyCollapsed"].least
"""Updates at the end of a run that must agree before an entropy is called collapsed."""

KL_LIMIT: Final = threshold("tamiyo.kl_violations").warning_above or 0.0
"""KL of one update, nats, from which on it moved the policy too far, as the alert."""


_BY_HEAD: Final = f"""
    WITH every AS (SELECT timestamp, rank, unnest(map_keys(head_entropy)) AS head, unnest(map_values(head_entropy)) AS
    value, head_learnable_fraction AS shares FROM {_U}), chosen AS (SELECT timestamp, rank, head, value,
    coalesce(shares[head], 1.0) AS share FROM every WHERE coalesce(shares[head], 1.0) > 0.0),
    over_all AS (SELECT coalesce(bool_and(value <= share + 1e-3) FILTER (isfinite(value)), false) AS steps FROM chosen),
    numbered AS (SELECT timestamp, head, CASE WHEN over_all.steps THEN least(value / share, 1.0) ELSE value END AS
    value, row_number() OVER (PARTITION BY head, rank ORDER BY timestamp DESC) AS back FROM chosen, over_all)
    SELECT head, min(value) FILTER (back <= {LEAST_LATE}) AS low, max(value) FILTER (back <= {LEAST_LATE}) AS high,
    count(*) FILTER (back <= {LEAST_LATE}) AS n, min(timestamp) FILTER (back <= {LEAST_LATE}) AS late_at,
    min(timestamp) FILTER (value < {COLLAPSED}) AS fell_at FROM numbered GROUP BY head ORDER BY high
"""
"""Entropy of each head over the steps in which it had a choice, as the metric; a head that never had one is left out.

esper-lite writes means over all steps, with a 0 for each without a choice: no entropy of it is above the share of steps
with one, which is how it is known here."""


class _Collapse(msgspec.Struct, frozen=True):
    """An entropy that is collapsed at the end of a run.

    Attributes:
        sentence: the verdict.
        low: smallest of the last values, of the head's maximum or in nats.
        high: largest of them.
        late_at: time of the first of them.
        fell_at: time of the first update with so small an entropy.
        head: the head; empty for a policy without heads.
    """

    sentence: str
    low: float
    high: float
    late_at: datetime
    fell_at: datetime
    head: str = ""


def entropy(run: Subject) -> Iterator[Finding]:
    """The policy, or one head of it, has become deterministic."""
    step = _large_step(run, collapses := _collapses(run))
    for each in collapses:
        yield Finding(
            kind="entropy_collapsed",
            severity=Grade.CRITICAL,
            confidence=Confidence.HIGH,
            sentence=each.sentence,
            evidence=[Figure("lowest of late", each.low), Figure("largest of late", each.high)],
            when=f"at the end, since {clock(each.late_at)} or earlier",
            who={"head": each.head} if each.head else {},
            cause=f"An update moved the policy too far before: KL {step.kl:.3g}, {step.when}." if step else "",
            query=f"SELECT timestamp, batch, entropy, head_entropy, kl_divergence FROM {_U} ORDER BY timestamp",
        )


def wrong_sign(run: Subject) -> Iterator[Finding]:
    """The loss pays the policy for being certain, whether or not its entropy has collapsed by now."""
    found = run.one(
        "SELECT count(*) AS n, count(*) FILTER (entropy_coef < 0) AS negative, min(entropy_coef) AS least,"
        f" min(timestamp) FILTER (entropy_coef < 0) AS at FROM {_U} WHERE entropy_coef IS NOT NULL"
    )
    if found["negative"]:
        yield Finding(
            kind="entropy_coefficient",
            severity=Grade.WARNING,
            confidence=Confidence.CERTAIN,
            sentence=f"The entropy coefficient is {found['least']:.3g}, below 0, in {found['negative']} of {found['n']}"
            " updates: the loss pays the policy for being certain.",
            evidence=[Figure("entropy coefficient", found["least"])],
            when=f"since {clock(found['at'])}",
            query=f"SELECT timestamp, batch, entropy_coef, entropy, head_entropy FROM {_U} ORDER BY timestamp",
        )


def too_large_a_step(run: Subject) -> Iterator[Finding]:
    """A single KL beyond its limit, where the entropy collapsed after it."""
    if step := _large_step(run, _collapses(run)):
        yield Finding(
            kind="kl_high",
            severity=Grade.WARNING,
            confidence=Confidence.MEDIUM,
            sentence=f"kl_divergence was {step.kl:.3g} in one update, above {KL_LIMIT:g}, and the entropy collapsed"
            " after it.",
            evidence=[Figure("largest kl_divergence before the collapse", step.kl)],
            when=step.when,
            query=f"SELECT timestamp, batch, kl_divergence, entropy, head_entropy FROM {_U} ORDER BY timestamp",
        )


def _collapses(run: Subject) -> list[_Collapse]:
    rows = run.rows(_BY_HEAD)
    if not rows:
        return _without_heads(run)
    return [
        _Collapse(
            f"The entropy of head {row['head']} is {row['high']:.2g} of its maximum.",
            *(row[name] for name in ("low", "high", "late_at", "fell_at", "head")),
        )
        for row in rows
        if row["n"] >= LEAST_LATE and row["high"] < COLLAPSED
    ]


def _without_heads(run: Subject) -> list[_Collapse]:
    found = run.one(
        "WITH every AS (SELECT timestamp, entropy, row_number() OVER (ORDER BY timestamp DESC) AS back, count(*) OVER"
        f" () AS n FROM {_U} WHERE isfinite(entropy)), first AS (SELECT max(entropy) AS value FROM every WHERE"
        f" back > n - {LEAST_LATE}) SELECT count(*) AS n, min(entropy) AS least, any_value(value) AS first,"
        f" min(entropy) FILTER (back <= {LEAST_LATE}) AS low, max(entropy) FILTER (back <= {LEAST_LATE}) AS high,"
        f" min(timestamp) FILTER (back <= {LEAST_LATE}) AS late_at,"
        f" min(timestamp) FILTER (entropy < {COLLAPSED} * value) AS fell_at FROM every, first"
    )
    is_discrete = found["n"] > 2 * LEAST_LATE and found["least"] >= 0.0  # that of a density may be below 0
    if not is_discrete or found["high"] >= COLLAPSED * found["first"]:
        return []
    sentence = f"The entropy of the policy fell from {found['first']:.3g} to {found['high']:.2g} nats."
    return [_Collapse(sentence, *(found[name] for name in ("low", "high", "late_at", "fell_at")))]


class _Step(msgspec.Struct, frozen=True):
    """An update that moved the policy too far."""

    kl: float
    when: str


def _large_step(run: Subject, collapses: list[_Collapse]) -> _Step | None:
    """The largest KL up to the first collapse; None if it is within its limit."""
    if not collapses:
        return None
    rows = run.rows(
        f"SELECT kl_divergence AS kl, batch, timestamp FROM {_U} WHERE isfinite(kl_divergence) AND timestamp <= ?"
        " ORDER BY kl_divergence DESC LIMIT 1",
        min(each.fell_at for each in collapses),
    )
    if not rows or rows[0]["kl"] <= KL_LIMIT:
        return None
    return _Step(rows[0]["kl"], when_of(rows[0]["batch"], rows[0]["timestamp"]))
