"""Rules about the updates of any model: numbers that are not finite, norms, layers without gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from esper_otel.alerts.kinds import share_of
from esper_otel.alerts.promql import threshold
from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade, counted
from esper_otel.diagnosis.losses import LOOP, POLICY, has_recovered
from esper_otel.diagnosis.subject import Subject, clock
from esper_otel.events.policy_optimisation import NEVER_UNDEFINED

CUT: Final = 10.0
SELDOM_CUT: Final = 0.01
"""An explosion of a loop is a warning where clipping left less than a tenth of its norm, in at most one update of a
hundred: the weights moved as usual. Returns that jump do that to a healthy policy (evidence/diagnoses.md)."""

SELDOM: Final = 0.001
"""Explosions in at most so many updates of a loop are a warning if its loss recovered: one that has learnt its data by
heart has such spikes for ever."""

DEAD_SHARE: Final = 0.25
"""Share of the layers without gradient from which on a network is damaged; a rectifier that is idle is one of many."""

LAYER_DECADES: Final = 6.0
"""Decades between the layers with the largest and the smallest norm: beyond them the first layers do not learn."""


def not_finite(run: Subject) -> Iterator[Finding]:
    """A loss, a norm or a weight was NaN or infinite."""
    for view, columns in ((LOOP, ("loss", "pre_clip_grad_norm")), (POLICY, NEVER_UNDEFINED)):
        bad = " OR ".join(f"NOT isfinite({name})" for name in columns)
        found = run.one(
            f"SELECT count(*) AS n, min(timestamp) AS at, count(DISTINCT rank) AS ranks FROM {view} WHERE {bad}"
        )
        if found["n"]:
            yield _first_not_finite(run, view, columns, found["n"], bad)
    skipped = run.rows(
        "SELECT timestamp, batch, rank, reason FROM tamiyo_update_skipped WHERE reason LIKE 'nonfinite%'"
        " OR NOT isfinite(pre_clip_grad_norm) ORDER BY timestamp"
    )
    unstable = run.rows(_UNSTABLE)
    if skipped or unstable:
        first = (skipped or unstable)[0]
        detail = unstable[0]["detail"] if unstable else skipped[0]["reason"]
        yield Finding(
            kind="non_finite",
            alert="TamiyoNonFiniteUpdate",
            severity=Grade.CRITICAL,
            confidence=Confidence.CERTAIN,
            sentence="Numbers of policy updates were NaN or infinite:"
            f" {counted(len(skipped), 'update was', 'updates were')} skipped for it.",
            evidence=[Figure("updates skipped", len(skipped)), Figure("detections", len(unstable))],
            when=f"round {first['batch']}, {clock(first['timestamp'])}",
            cause=str(detail or ""),
            query="SELECT timestamp, batch, reason, pre_clip_grad_norm FROM tamiyo_update_skipped ORDER BY timestamp",
        )
    hosts = run.one(
        "SELECT count(*) AS n, min(timestamp) AS at, min_by(env_id, timestamp) AS env, min_by(inner_epoch, timestamp)"
        " AS epoch FROM tolaria_epochs WHERE NOT isfinite(val_loss) OR NOT isfinite(host_train_loss)"
    )
    panics = run.rows(
        "SELECT timestamp, env_id, panic_reason FROM rollbacks WHERE panic_reason LIKE '%nan%' ORDER BY 1"
    )
    if hosts["n"] or panics:
        env = hosts["env"] if hosts["n"] else panics[0]["env_id"]
        yield Finding(
            kind="non_finite",
            alert="TolariaHostLossNonFinite",
            severity=Grade.CRITICAL,
            confidence=Confidence.CERTAIN,
            sentence=f"The loss of the host of environment {env} was NaN or infinite;"
            f" {counted(len(panics), 'rollback')} followed.",
            evidence=[Figure("epochs", hosts["n"]), Figure("rollbacks", len(panics))],
            when=clock(hosts["at"] or panics[0]["timestamp"]),
            who={"environment": str(env)},
            query="SELECT timestamp, env_id, inner_epoch, val_loss, host_train_loss FROM tolaria_epochs"
            " WHERE NOT isfinite(val_loss) OR NOT isfinite(host_train_loss) ORDER BY timestamp",
        )


UNDEFINED_ALONE: Final = f"""
    EXISTS (SELECT 1 FROM {POLICY} u WHERE u.rank = d.rank AND u.group_id IS NOT DISTINCT FROM d.group_id
    AND u.batch = d.batch AND u.ev_low_return_variance
    AND {" AND ".join(f"coalesce(isfinite(u.{name}), true)" for name in NEVER_UNDEFINED)})
"""
"""Condition of a detection of NaN, as ``d``, in an update whose returns hardly vary and whose other numbers are finite:
its explained variance is undefined, which esper-lite writes as NaN and its detector counts."""

_UNSTABLE: Final = (
    "SELECT d.timestamp, d.batch, d.detail FROM numerical_instability_detected d"
    f" WHERE NOT {UNDEFINED_ALONE} ORDER BY d.timestamp"
)


def _first_not_finite(run: Subject, view: str, columns: tuple[str, ...], number: int, bad: str) -> Finding:
    order = "timestamp, seq"
    names = ", ".join(columns)
    first = run.rows(f"SELECT timestamp, rank, {names} FROM {view} WHERE {bad} ORDER BY {order} LIMIT 1")[0]
    before = run.rows(
        f"SELECT {names} FROM {view} WHERE rank = ? AND timestamp < ? ORDER BY timestamp DESC, seq DESC LIMIT 1",
        first["rank"],
        first["timestamp"],
    )
    total = run.count(view)
    wrong = [name for name in columns if first[name] is not None and not abs(first[name]) < float("inf")]
    evidence = [Figure("updates not finite", number), Figure("updates", total)]
    if before:
        evidence += [Figure(f"{name} before", before[0][name]) for name in columns if before[0][name] is not None]
    went_up = before and (before[0]["pre_clip_grad_norm"] or 0.0) > 1e3
    cause = "the gradient had exploded before" if went_up else "the update before was ordinary: look at its input"
    return Finding(
        kind="non_finite",
        severity=Grade.CRITICAL,
        confidence=Confidence.CERTAIN,
        sentence=f"{number} of {total} updates have a NaN or infinite {' and '.join(wrong)}.",
        evidence=evidence,
        when=f"first at {clock(first['timestamp'])}",
        who={"rank": str(first["rank"])},
        cause=cause if before else "the first update was not finite already",
        query=f"SELECT timestamp, rank, {names} FROM {view} WHERE {bad} ORDER BY timestamp LIMIT 20",
    )


def exploding(run: Subject) -> Iterator[Finding]:
    """A gradient norm beyond the critical limit, or many beyond the other."""
    for view, field, signal, alert in (
        (POLICY, "pre_clip_grad_norm", "tamiyo.grad_norm_violations", "TamiyoGradNormHigh"),
        (LOOP, "grad_norm_excess", "tolaria.update.grad_norm_violations", "TolariaGradNormHigh"),
    ):
        limit, share = threshold(signal), share_of(alert)
        exploded = f"isfinite({field}) AND {field} > {limit.critical_above}"
        was_cut = f"coalesce(grad_norm * {CUT} <= pre_clip_grad_norm, false)" if view == LOOP else "false"
        found = run.one(
            f"SELECT count({field}) AS n, count(*) FILTER ({exploded}) AS worse,"
            f" count(*) FILTER ({exploded} AND NOT {was_cut}) AS whole,"
            f" count(*) FILTER (isfinite({field}) AND {field} > {limit.warning_above}) AS high FROM {view}"
        )
        if found["worse"] or share.is_passed(found["high"], found["n"]):
            number, total = found["worse"] or found["high"], found["n"]
            is_over = view == LOOP and number <= SELDOM * total and has_recovered(run)
            critical = not is_over and (bool(found["whole"]) or found["worse"] > SELDOM_CUT * total)
            explosion = _explosion(run, view, field, total, number, critical)
            after = explosion.sentence.removesuffix(".") + "; the loss recovered." if is_over else explosion.sentence
            yield msgspec.structs.replace(explosion, sentence=after)


def _explosion(run: Subject, view: str, field: str, total: int, number: int, critical: bool) -> Finding:
    columns = "batch, ppo_update_idx" if view == POLICY else 'NULL AS batch, "update" AS ppo_update_idx'
    worst = run.rows(
        f"SELECT timestamp, rank, {columns}, pre_clip_grad_norm, {field} AS value FROM {view} WHERE isfinite({field})"
        f" ORDER BY {field} DESC LIMIT 1"
    )[0]
    usual = run.one(f"SELECT median(pre_clip_grad_norm) AS m FROM {view} WHERE isfinite(pre_clip_grad_norm)")["m"]
    named = {"round": worst["batch"], "update": worst["ppo_update_idx"]}
    where = ", ".join(f"{name} {number}" for name, number in named.items() if number is not None)
    return Finding(
        kind="exploding_gradients",
        alert="TamiyoGradNormExploded" if view == POLICY else "TolariaGradNormExploded",
        severity=Grade.CRITICAL if critical else Grade.WARNING,
        confidence=Confidence.CERTAIN,
        sentence=f"The gradient norm exploded in {number} of {total} updates, to {worst['pre_clip_grad_norm']:.4g}.",
        evidence=[
            Figure("largest norm before clipping", worst["pre_clip_grad_norm"]),
            Figure("median norm", usual),
            *([Figure("times the largest of late", worst["value"])] if field == "grad_norm_excess" else []),
        ],
        when=f"{where}, {clock(worst['timestamp'])}",
        who={"rank": str(worst["rank"])},
        query=f"SELECT timestamp, rank, pre_clip_grad_norm FROM {view} ORDER BY {field} DESC NULLS LAST LIMIT 20",
    )


def vanishing(run: Subject) -> Iterator[Finding]:
    """Most updates of a policy have almost no gradient, or the first layers of a network have none."""
    share = share_of("TamiyoGradNormVanishing")
    found = run.one(
        f"SELECT count(*) AS n, count(*) FILTER (pre_clip_grad_norm <= 0.001) AS small, median(pre_clip_grad_norm) AS m"
        f" FROM {POLICY} WHERE isfinite(pre_clip_grad_norm)"
    )
    if share.is_passed(found["small"], found["n"]):
        yield Finding(
            kind="vanishing_gradients",
            severity=Grade.WARNING,
            confidence=Confidence.HIGH,
            sentence=f"{found['small']} of {found['n']} policy updates have a gradient norm of 0.001 or less.",
            evidence=[Figure("median norm", found["m"])],
            query=f"SELECT timestamp, batch, pre_clip_grad_norm FROM {POLICY} ORDER BY timestamp",
        )
    layers = run.rows(
        "SELECT model, count(*) AS n, median(log10(norm_spread)) AS decades, last(norm_per_layer ORDER BY timestamp) AS"
        " norms FROM tolaria_gradient_stats WHERE isfinite(norm_spread) AND norm_spread > 0 GROUP BY model"
    )
    for row in layers:
        if row["decades"] > LAYER_DECADES:
            smallest = min((v, k) for k, v in (row["norms"] or {"?": 0.0}).items())
            yield Finding(
                kind="vanishing_gradients",
                severity=Grade.WARNING,
                confidence=Confidence.HIGH if row["n"] > 1 else Confidence.MEDIUM,
                sentence=f"The gradient of {row['model']} vanishes on its way: layers are {row['decades']:.0f}"
                " decades apart.",
                evidence=[Figure(f"norm of {smallest[1]}", smallest[0]), Figure("reports", row["n"])],
                who={"model": str(row["model"]), "layer": smallest[1]},
                query="SELECT timestamp, model, norm_spread, norm_per_layer FROM tolaria_gradient_stats ORDER BY"
                " timestamp",
            )


def dead_layers(run: Subject) -> Iterator[Finding]:
    """Layers of a loop's network get no gradient any more."""
    for row in run.rows(
        "SELECT model, count(*) AS n, last(dead_layer_count ORDER BY timestamp) AS dead, last(zero_fraction_per_layer"
        " ORDER BY timestamp) AS zeros, max(timestamp) AS at FROM tolaria_gradient_stats GROUP BY model"
    ):
        zeros = row["zeros"] or {}
        dead = [name for name, share in zeros.items() if share >= 0.999]
        if dead and len(dead) >= DEAD_SHARE * len(zeros):
            yield Finding(
                kind="dead_layers",
                severity=Grade.WARNING,
                confidence=Confidence.HIGH,
                sentence=f"{len(dead)} of {len(zeros)} layers of {row['model']} get no gradient:"
                f" {', '.join(dead[:4])}.",
                evidence=[Figure("layers without gradient", len(dead)), Figure("layers", len(zeros))],
                when=clock(row["at"]),
                who={"model": str(row["model"]), "layer": dead[0]},
                query="SELECT timestamp, model, dead_layer_count, zero_fraction_per_layer FROM tolaria_gradient_stats",
            )
