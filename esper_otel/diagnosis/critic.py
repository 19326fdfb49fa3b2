"""Rules about the critic of a policy: one that explains nothing, one that fails, one that never learns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from esper_otel.alerts.kinds import share_of
from esper_otel.alerts.promql import threshold
from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade, counted
from esper_otel.diagnosis.subject import Subject, clock

_LATE: Final = (
    "(SELECT * FROM (SELECT *, ntile(2) OVER (PARTITION BY rank, group_id ORDER BY timestamp) AS half"
    " FROM tamiyo_updates WHERE isfinite(explained_variance) AND ev_low_return_variance IS NOT TRUE) WHERE half = 2)"
)
"""Updates of the second half of the run, those whose returns hardly vary left out: there is nothing to explain in them,
and early returns move faster than any critic follows."""

_FALLEN: Final = """
    SELECT d.timestamp, d.batch, d.value, d.detail FROM value_collapse_detected d WHERE NOT EXISTS (SELECT 1 FROM
    tamiyo_updates u WHERE u.rank = d.rank AND u.group_id IS NOT DISTINCT FROM d.group_id AND u.batch = d.batch
    AND u.ev_low_return_variance) ORDER BY d.timestamp
"""
"""Detections without those of updates whose returns hardly vary: there is nothing to explain in them."""

LEAST_UPDATES: Final = 10
"""Policy updates from which on a critic without any gradient is no accident of one batch."""

RECOVERED: Final = 0.5
"""Share of the updates after the last detection from which on it is only worth knowing: before the scale of the returns
is known, the first error of a healthy critic is beyond the detector's limit (evidence/diagnoses.md, esper-lite)."""

_CRITIC: Final = re.compile(r"(?:^|[._])(?:value|critic|vf|v_head)(?:$|[._\d])|value_(?:net|head|function)", re.I)
_TARGET: Final = re.compile("target", re.I)
"""Layers of a critic by the names that Stable-Baselines3, CleanRL, RLlib, TRL and the trainer give them; a target
network is a copy that gets no gradient by design."""

_SILENT: Final = """
    WITH r AS (SELECT model, layers_without_gradient AS missing, norm_per_layer AS norms FROM tolaria_gradient_stats
    WHERE norm_per_layer IS NOT NULL), n AS (SELECT model, count(*) AS reports FROM r GROUP BY model),
    s AS (SELECT model, unnest(missing) AS layer FROM r UNION ALL SELECT model, layer FROM (SELECT model,
    unnest(map_keys(norms)) AS layer, unnest(map_values(norms)) AS norm FROM r) WHERE norm = 0)
    SELECT s.model AS model, layer, any_value(reports) AS reports FROM s JOIN n ON s.model IS NOT DISTINCT FROM n.model
    GROUP BY s.model, layer HAVING count(*) = any_value(reports) ORDER BY layer
"""
"""Layers whose gradient is missing or exactly 0 in every report."""


def failing(run: Subject) -> Iterator[Finding]:
    """The critic explains nothing, or its detector says that it failed."""
    share, limit = share_of("TamiyoExplainedVarianceLow"), threshold("tamiyo.explained_variance_violations")
    found = run.one(
        f"SELECT count(*) AS n, count(*) FILTER (explained_variance < {limit.critical_below}) AS low,"
        f" median(explained_variance) AS m, max(explained_variance) AS best, min(timestamp) AS at FROM {_LATE}"
    )
    if share.is_passed(found["low"], found["n"]):
        yield Finding(
            kind="critic_failing",
            severity=Grade.WARNING,
            confidence=Confidence.HIGH,
            sentence=f"The explained variance is below {limit.critical_below:g} in {found['low']} of the last"
            f" {found['n']} updates.",
            evidence=[Figure("median", found["m"]), Figure("best", found["best"])],
            when=f"second half of the run, from {clock(found['at'])}",
            query="SELECT timestamp, batch, explained_variance, value_loss FROM tamiyo_updates ORDER BY timestamp",
        )
    fallen = run.rows(_FALLEN)
    if fallen:
        since = run.one("SELECT count(*) AS n FROM tamiyo_updates WHERE timestamp > ?", fallen[-1]["timestamp"])["n"]
        is_over = since >= RECOVERED * run.count("tamiyo_updates") > 0
        yield Finding(
            kind="critic_failing",
            severity=Grade.INFO if is_over else Grade.WARNING,
            confidence=Confidence.HIGH,
            sentence=f"The critic failed {counted(len(fallen), 'time')}:"
            f" {fallen[0]['detail'] or 'its error was far too large'}.",
            evidence=[Figure("detections", len(fallen))],
            when=f"round {fallen[0]['batch']}, {clock(fallen[0]['timestamp'])}",
            query="SELECT timestamp, batch, value, threshold, detail FROM value_collapse_detected",
        )


def without_gradient(run: Subject) -> Iterator[Finding]:
    """The critic gets no gradient in the whole run, and does not explain the returns."""
    limit = threshold("tamiyo.explained_variance_violations")
    late = run.one(f"SELECT median(explained_variance) AS m FROM {_LATE}")["m"]
    if run.count("tamiyo_updates") < LEAST_UPDATES or (late is not None and late >= limit.warning_below):
        return
    head = run.one(
        "SELECT count(norm) AS n, max(norm) AS most, min(timestamp) AS at FROM"
        " (SELECT timestamp, head_grad_norm['value'] AS norm FROM tamiyo_updates)"
    )
    silent = [row for row in run.rows(_SILENT) if _CRITIC.search(row["layer"]) and not _TARGET.search(row["layer"])]
    explained = [Figure("explained variance of late", late)] if late is not None else []
    if head["n"] >= LEAST_UPDATES and head["most"] == 0:
        yield _untaught(
            f"The critic's gradient is exactly 0 in all {head['n']} updates: it does not learn.",
            [Figure("updates", head["n"]), *explained],
            {"head": "value"},
            "SELECT timestamp, batch, head_grad_norm['value'] AS norm FROM tamiyo_updates ORDER BY timestamp",
        )
    elif silent:
        names = [row["layer"] for row in silent]
        yield _untaught(
            f"{counted(len(names), 'layer')} of the critic never got a gradient: {', '.join(names[:4])}.",
            [Figure("reports of the gradients", silent[0]["reports"]), *explained],
            {"model": str(silent[0]["model"]), "layer": names[0]},
            "SELECT timestamp, model, layers_without_gradient, norm_per_layer FROM tolaria_gradient_stats",
        )


def _untaught(sentence: str, evidence: list[Figure], who: dict[str, str], query: str) -> Finding:
    return Finding(
        kind="critic_failing",
        severity=Grade.WARNING,
        confidence=Confidence.CERTAIN,
        sentence=sentence,
        evidence=evidence,
        who=who,
        cause="its parameters are frozen, or the loss has no term for it",
        query=query,
    )
