"""Rules about a policy: trust region, rewards, seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from esper_otel.alerts.kinds import share_of
from esper_otel.alerts.promql import Share, threshold
from esper_otel.diagnosis.exploration import too_large_a_step
from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade, counted
from esper_otel.diagnosis.subject import Row, Subject, clock, when_of

_U: Final = "tamiyo_updates"
_KL, _CLIP, _RATIO = "tamiyo.kl_violations", "tamiyo.clip_fraction_violations", "tamiyo.policy_ratio_violations"

SOME_EXPLODED: Final = Share(above=0.01, least=20)
"""Updates with a KL beyond the critical limit from which on they are a warning; of 610 updates of good runs none is
(evidence/limits.md)."""

FAR_DROP: Final = 50.0
"""Relative drop of accuracy, %, from which on a round lost what it had; smaller ones happen in learning runs."""

FAR_POINTS: Final = 10.0
"""Percentage points that such a round lost at least: 3 % after 10 % is chance, where nothing was learned."""

MANY_SUSPICIONS: Final = 5
"""Suspicions of reward hacking from which on they are a warning; good runs have 0.003 an update"
" (evidence/limits.md)."""

ALIKE_EPISODES: Final = 20
"""Episodes in a row with the very same reward from which on there is nothing to learn."""


def trust_region(run: Subject) -> Iterator[Finding]:
    """KL, clip fraction and ratio beyond their limits in too large a share of the updates."""
    made: set[str] = set()
    for kind, field, signal, share, side, severity in (
        ("kl_high", "kl_divergence", _KL, share_of("TamiyoKlExploded"), "critical_above", Grade.CRITICAL),
        ("kl_high", "kl_divergence", _KL, share_of("TamiyoKlHigh"), "warning_above", Grade.WARNING),
        ("kl_high", "kl_divergence", _KL, SOME_EXPLODED, "critical_above", Grade.WARNING),
        ("clip_high", "clip_fraction", _CLIP, share_of("TamiyoClipFractionHigh"), "warning_above", Grade.WARNING),
        ("policy_ratio", "ratio_max", _RATIO, share_of("TamiyoRatioExploded"), "critical_above", Grade.WARNING),
    ):
        limit = getattr(threshold(signal), side)
        found = run.one(
            f"SELECT count({field}) AS n, count(*) FILTER ({field} > {limit}) AS over, max({field}) AS worst,"
            f" max_by(batch, {field}) AS batch, max_by(timestamp, {field}) AS at FROM {_U} WHERE isfinite({field})"
        )
        is_made = kind in made  # the stronger statement includes the weaker
        if is_made or not share.is_passed(found["over"], found["n"]):
            continue
        made.add(kind)
        yield Finding(
            kind=kind,
            severity=severity,
            confidence=Confidence.HIGH,
            sentence=f"{field} is above {limit:g} in {found['over']} of {found['n']} updates, up to"
            f" {found['worst']:.4g}.",
            evidence=[Figure(f"largest {field}", found["worst"]), Figure("share", found["over"] / found["n"])],
            when=when_of(found["batch"], found["at"]),
            query=f"SELECT timestamp, batch, ppo_update_idx, {field} FROM {_U} ORDER BY {field} DESC NULLS LAST LIMIT"
            " 20",
        )
    if "kl_high" not in made:
        yield from too_large_a_step(run)


def rewards(run: Subject) -> Iterator[Finding]:
    """Rewards that are all alike, or that seeds collect without helping."""
    alike = run.one(
        "SELECT count(*) AS n, min(episode_reward) AS low, max(episode_reward) AS high FROM (SELECT episode_reward FROM"
        f" episode_outcomes WHERE isfinite(episode_reward) ORDER BY timestamp DESC LIMIT {ALIKE_EPISODES})"
    )
    if alike["n"] >= ALIKE_EPISODES and alike["low"] == alike["high"]:
        yield Finding(
            kind="advantages_degenerate",
            severity=Grade.WARNING,
            confidence=Confidence.HIGH,
            sentence=f"The last {alike['n']} episodes all have the reward {alike['low']:g}.",
            evidence=[Figure("reward", alike["low"]), Figure("episodes", alike["n"])],
            query="SELECT timestamp, env_id, episode_reward FROM episode_outcomes ORDER BY timestamp DESC LIMIT 40",
        )
    suspected = run.rows(
        "SELECT timestamp, pattern, env_id, slot_id, ratio FROM reward_hacking_suspected ORDER BY timestamp"
    )
    if suspected:
        first = suspected[0]
        yield Finding(
            kind="reward_hacking",
            severity=Grade.WARNING if len(suspected) >= MANY_SUSPICIONS else Grade.INFO,
            confidence=Confidence.HIGH if len(suspected) >= MANY_SUSPICIONS else Confidence.MEDIUM,
            sentence=f"{counted(len(suspected), 'time')} a seed collected credit that the accuracy does not show"
            f" ({first['pattern']}).",
            evidence=[Figure("suspicions", len(suspected))],
            when=f"from {clock(first['timestamp'])}",
            who={"environment": str(first["env_id"]), "slot": str(first["slot_id"])},
            query="SELECT timestamp, pattern, env_id, slot_id, seed_contribution, total_improvement FROM"
            " reward_hacking_suspected",
        )


def outcomes(run: Subject) -> Iterator[Finding]:
    """Accuracy that fell, rollbacks, rounds on a plateau."""
    falls = run.rows(
        "SELECT timestamp, current_acc, rolling_avg_acc, drop_percent FROM performance_degradation ORDER BY"
        " drop_percent DESC"
    )
    if falls:
        worst = falls[0]
        yield Finding(
            kind="performance_degraded",
            severity=Grade.WARNING if _lost_much(worst) else Grade.INFO,
            confidence=Confidence.CERTAIN,
            sentence=f"Accuracy fell to {worst['current_acc']:.1f} % from {worst['rolling_avg_acc']:.1f} %.",
            evidence=[Figure("largest drop", worst["drop_percent"], "%"), Figure("falls", len(falls))],
            when=clock(worst["timestamp"]),
            query="SELECT timestamp, current_acc, rolling_avg_acc, drop_percent FROM performance_degradation",
        )
    panics = run.rows(
        "SELECT panic_reason, count(*) AS n, min(timestamp) AS at, min(env_id) AS env FROM rollbacks GROUP BY 1"
    )
    for row in panics:
        yield Finding(
            kind="rollbacks",
            severity=Grade.WARNING,
            confidence=Confidence.CERTAIN,
            sentence=f"The governor rolled hosts back {counted(row['n'], 'time')}: {row['panic_reason']}.",
            evidence=[Figure("rollbacks", row["n"])],
            when=clock(row["at"]),
            who={"environment": str(row["env"])},
            query="SELECT timestamp, env_id, panic_reason, loss_at_panic FROM rollbacks ORDER BY timestamp",
        )
    share = share_of("TolariaPlateau")
    flat, rounds = run.count("plateau_detected"), run.count("tolaria_batches")
    if share.is_passed(flat, rounds):
        yield Finding(
            kind="plateau",
            severity=Grade.INFO,
            confidence=Confidence.HIGH,
            sentence=f"{flat} of {rounds} rounds were on a plateau.",
            evidence=[Figure("share", flat / rounds)],
            query="SELECT timestamp, batch_idx, rolling_avg_accuracy FROM plateau_detected",
        )


def _lost_much(fall: Row) -> bool:
    points = (fall["rolling_avg_acc"] or 0.0) - (fall["current_acc"] or 0.0)
    return (fall["drop_percent"] or 0.0) >= FAR_DROP and points >= FAR_POINTS


def skipped(run: Subject) -> Iterator[Finding]:
    """Too many updates left the weights unchanged."""
    share = share_of("TamiyoUpdatesSkipped")
    reasons = run.rows(
        "SELECT reason, count(*) AS n, min(timestamp) AS at FROM tamiyo_update_skipped WHERE reason <> 'amp_overflow'"
        " GROUP BY 1 ORDER BY n DESC"
    )
    number, done = sum(row["n"] for row in reasons), run.count(_U)
    if share.is_passed(number, done):
        yield Finding(
            kind="updates_skipped",
            severity=Grade.CRITICAL if not done else Grade.WARNING,
            confidence=Confidence.CERTAIN,
            sentence=f"{counted(number, 'update was', 'updates were')} skipped and {done} applied, most for"
            f" {reasons[0]['reason']}.",
            evidence=[Figure("skipped", number), Figure("applied", done)],
            when=f"from {clock(reasons[0]['at'])}",
            query="SELECT timestamp, batch, reason FROM tamiyo_update_skipped ORDER BY timestamp",
        )


def seeds(run: Subject) -> Iterator[Finding]:
    """Seeds that are planted to be pruned, or that never become permanent."""
    born, pruned, kept = (run.count(f"seed_{name}") for name in ("germinated", "pruned", "fossilized"))
    share = share_of("KasminaPruneStorm")
    figures = [Figure("germinated", born), Figure("pruned", pruned), Figure("made permanent", kept)]
    query = "SELECT blueprint_id, event_type, count(*) AS seeds FROM seed_lifecycle GROUP BY ALL ORDER BY ALL"
    if share.is_passed(pruned, born):
        yield Finding(
            kind="seeds_pruned",
            severity=Grade.WARNING,
            confidence=Confidence.HIGH,
            sentence=f"{pruned} of {born} seeds were pruned.",
            evidence=figures,
            query=query,
        )
    elif born >= 100 and kept < 0.05 * born:
        yield Finding(
            kind="seeds_never_permanent",
            severity=Grade.INFO,
            confidence=Confidence.HIGH,
            sentence=f"{kept} of {born} seeds became permanent.",
            evidence=figures,
            query=query,
        )
