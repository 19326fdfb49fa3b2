"""Rules about a policy: trust region, entropy, rewards, seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from esper_otel.alerts.kinds import BY_NAME, share_of
from esper_otel.alerts.promql import threshold
from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade, counted
from esper_otel.diagnosis.subject import Subject, clock

_U: Final = "tamiyo_updates"

COLLAPSED: Final = threshold("tamiyo.head_entropy").critical_below or 0.0
"""Entropy of a head over its maximum, as the alert; for a policy without heads, over what it had at first."""

LEAST_LATE: Final = BY_NAME["TamiyoHeadEntropyCollapsed"].least
"""Updates at the end of a run that must agree before an entropy is called collapsed."""

FAR_DROP: Final = 50.0
"""Relative drop of accuracy, %, from which on a round lost what it had; smaller ones happen in learning runs."""

MANY_SUSPICIONS: Final = 5
"""Suspicions of reward hacking from which on they are a warning; good runs have 0.003 an update"
" (evidence/limits.md)."""

ALIKE_EPISODES: Final = 20
"""Episodes in a row with the very same reward from which on there is nothing to learn."""


def trust_region(run: Subject) -> Iterator[Finding]:
    """KL, clip fraction and ratio beyond their limits in too large a share of the updates."""
    made: set[str] = set()
    for kind, field, signal, alert, side, severity in (
        ("kl_high", "kl_divergence", "tamiyo.kl_violations", "TamiyoKlExploded", "critical_above", Grade.CRITICAL),
        ("kl_high", "kl_divergence", "tamiyo.kl_violations", "TamiyoKlHigh", "warning_above", Grade.WARNING),
        (
            "clip_high",
            "clip_fraction",
            "tamiyo.clip_fraction_violations",
            "TamiyoClipFractionHigh",
            "warning_above",
            Grade.WARNING,
        ),
        (
            "policy_ratio",
            "ratio_max",
            "tamiyo.policy_ratio_violations",
            "TamiyoRatioExploded",
            "critical_above",
            Grade.WARNING,
        ),
    ):
        limit, share = getattr(threshold(signal), side), share_of(alert)
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
            when=f"round {found['batch']}, {clock(found['at'])}" if found["batch"] is not None else clock(found["at"]),
            query=f"SELECT timestamp, batch, ppo_update_idx, {field} FROM {_U} ORDER BY {field} DESC NULLS LAST LIMIT"
            " 20",
        )


def entropy(run: Subject) -> Iterator[Finding]:
    """The policy, or one head of it, has become deterministic."""
    heads = run.rows(
        f"SELECT head, min(value) AS low, max(value) AS high, count(*) AS n, min(timestamp) AS at FROM (SELECT *,"
        f" row_number() OVER (PARTITION BY head, rank ORDER BY timestamp DESC) AS back FROM (SELECT timestamp, rank,"
        f" unnest(map_keys(head_entropy)) AS head, unnest(map_values(head_entropy)) AS value FROM {_U}))"
        f" WHERE back <= {LEAST_LATE} GROUP BY head ORDER BY high"
    )
    for row in heads:
        if row["n"] >= LEAST_LATE and row["high"] < COLLAPSED:
            yield _collapsed(
                f"The entropy of head {row['head']} is {row['high']:.2g} of its maximum.", row, row["head"]
            )
    if not heads:
        yield from _plain_entropy(run)


def _collapsed(sentence: str, row: dict[str, object], head: object) -> Finding:
    return Finding(
        kind="entropy_collapsed",
        severity=Grade.CRITICAL,
        confidence=Confidence.HIGH,
        sentence=sentence,
        evidence=[Figure("lowest of late", float(str(row["low"]))), Figure("largest of late", float(str(row["high"])))],
        when=f"at the end, since {clock(row['at'])} or earlier",  # type: ignore[arg-type]  # a time of DuckDB
        who={"head": str(head)} if head else {},
        query=f"SELECT timestamp, batch, entropy, head_entropy FROM {_U} ORDER BY timestamp",
    )


def _plain_entropy(run: Subject) -> Iterator[Finding]:
    found = run.one(
        f"SELECT count(*) AS n, min(entropy) AS least, max(entropy) FILTER (back > n - {LEAST_LATE}) AS first,"
        f" min(entropy) FILTER (back <= {LEAST_LATE}) AS low, max(entropy) FILTER (back <= {LEAST_LATE}) AS high,"
        f" min(timestamp) FILTER (back <= {LEAST_LATE}) AS at FROM (SELECT timestamp, entropy, row_number() OVER"
        " (ORDER BY"
        f" timestamp DESC) AS back, count(*) OVER () AS n FROM {_U} WHERE isfinite(entropy))"
    )
    is_discrete = found["n"] > 2 * LEAST_LATE and found["least"] >= 0.0  # that of a density may be below 0
    if is_discrete and found["high"] < COLLAPSED * found["first"]:
        yield _collapsed(
            f"The entropy of the policy fell from {found['first']:.3g} to {found['high']:.2g} nats.", found, None
        )


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
            severity=Grade.WARNING if (worst["drop_percent"] or 0.0) >= FAR_DROP else Grade.INFO,
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
