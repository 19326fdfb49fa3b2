"""Detectors of anomalies and trends: pure functions of numbers, each with its threshold and the reason for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trainer.tamiyo.diagnostics import GRAD_NORM_ALARM

RATIO_EXPLOSION: Final = 5.0
"""A step whose probability grew fivefold is outside anything the clipped objective was meant for."""

RATIO_COLLAPSE: Final = 0.1
"""The mirror image: an action that the policy all but gave up within one batch."""

VALUE_LOSS_LIMIT: Final = 20.0
"""Half squared error of the critic. Returns are under 6 at first, so one that has learned nothing has at most 18."""

BELLMAN_LIMIT: Final = 5.0
"""Mean size of the temporal-difference error (esper-lite's limit); rewards of one step are of order 1."""

KL_SPIKE: Final = 0.2
"""Nats; updates stop beyond a target of 0.08, noticed one update late: 0.15 is still an ordinary last update."""

KL_EXTREME: Final = 0.5
"""Nats; the policy is another one (esper-lite's limit)."""

GRAD_NORM_LIMIT: Final = GRAD_NORM_ALARM

DRIFT_LIMIT: Final = 1.5
"""Relative distance of a batch's gradient norm from its running mean: norms of PPO double between healthy batches."""

HEALTH_FALL: Final = 0.5
"""Share of its running mean below which the mean health of layers has drifted."""

DEAD_LAYERS_SHARE: Final = 0.5
"""Share of dead layers beyond which a gradient no longer reaches the model; heads that were not used are dead too."""

STREAK: Final = 3
"""Updates in a row for which a head's entropy must be too low: one batch may offer few choices."""

PLATEAU: Final = 0.25
"""Change of the rolling accuracy in percentage points below which nothing moved: under one image in 300."""

TREND: Final = 1.0
"""Change of the rolling accuracy in percentage points that counts as a trend: three images in 300."""

DROP_PERCENT: Final = 10.0
"""Relative drop against the rolling accuracy that counts as degradation."""

ATTRIBUTION_RATIO: Final = 5.0
"""A seed cannot honestly account for five times what was gained."""

RANSOM_CONTRIBUTION: Final = 5.0
"""Percentage points a seed seems to be worth..."""

RANSOM_DEGRADATION: Final = -1.0
"""...while accuracy fell since it came: the host was taken hostage rather than helped."""

MEMORY_LIMIT: Final = 0.85
"""Share of memory in use at which there is still time to act before an allocation fails."""

ENTROPY_LIMITS: Final = {
    "op": 0.08,
    "slot": 0.1,
    "blueprint": 0.05,
    "style": 0.08,
    "tempo": 0.05,
    "alpha_target": 0.08,
    "alpha_speed": 0.08,
    "alpha_curve": 0.08,
}
"""Share of a head's maximal entropy below which it has collapsed (esper-lite's limits)."""


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """Finding of a detector: ``kind`` is the precise name, ``value`` crossed ``threshold``.

    ``evidence`` holds the event's fields ``gradient_stats``, ``stability`` or ``ratio_diagnostic``, where they apply.
    """

    kind: str
    value: float
    threshold: float
    detail: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Direction of the rolling accuracy: plateau, degradation or improvement; percentages."""

    kind: str
    delta: float
    now: float
    before: float


@dataclass(frozen=True, kw_only=True)
class RewardHack:
    """A seed whose credit its host's accuracy does not confirm; percentage points."""

    pattern: str
    contribution: float
    improvement: float
    ratio: float | None


def _beyond(kind: str, name: str, value: float, limit: float, *, below: bool = False) -> list[Anomaly]:
    crossed = value < limit if below else value > limit
    sign = "<" if below else ">"
    return (
        [Anomaly(kind=kind, value=value, threshold=limit, detail=f"{name}={value:.4g} {sign} {limit:g}")]
        if crossed
        else []
    )


def ratio_anomalies(ratio_min: float, ratio_max: float) -> list[Anomaly]:
    """Exploding and collapsing probability ratios of one update."""
    return _beyond("ratio_explosion", "ratio_max", ratio_max, RATIO_EXPLOSION) + _beyond(
        "ratio_collapse", "ratio_min", ratio_min, RATIO_COLLAPSE, below=True
    )


def value_anomalies(value_loss: float, bellman_error: float) -> list[Anomaly]:
    """A critic that fails."""
    found = _beyond("value_collapse", "value_loss", value_loss, VALUE_LOSS_LIMIT)
    return found or _beyond("value_collapse", "bellman_error", bellman_error, BELLMAN_LIMIT)


def gradient_anomalies(pre_clip_grad_norm: float, kl: float) -> list[Anomaly]:
    """Abnormal gradients or KL."""
    found = _beyond("gradient_explosion", "pre_clip_grad_norm", pre_clip_grad_norm, GRAD_NORM_LIMIT)
    # KL_EXTREME is the worse spike, not a second one.
    if kl > KL_EXTREME:
        return found + _beyond("kl_extreme", "kl", kl, KL_EXTREME)
    return found + _beyond("kl_spike", "kl", kl, KL_SPIKE)


def entropy_anomalies(head_entropy: Mapping[str, float], streaks: Mapping[str, int]) -> list[Anomaly]:
    """Heads whose entropy (share of its maximum) has been under its limit for :data:`STREAK` updates in a row.

    ``streaks`` counts, by head, how many updates it has been so, this one included.
    """
    return [
        Anomaly(
            kind=f"entropy_collapse_{head}",
            value=value,
            threshold=ENTROPY_LIMITS[head],
            detail=f"{head} entropy={value:.4g} < {ENTROPY_LIMITS[head]:g} ({streaks[head]} consecutive updates)",
        )
        for head, value in head_entropy.items()
        if value < ENTROPY_LIMITS[head] and streaks.get(head, 0) >= STREAK
    ]


def drift_anomaly(norm: float, smoothed: float | None) -> list[Anomaly]:
    """A gradient norm that left its running mean by more than :data:`DRIFT_LIMIT`, relative to the mean."""
    if smoothed is None or smoothed <= 0.0:
        return []
    return _beyond("gradient_norm_drift", "relative drift", abs(norm - smoothed) / smoothed, DRIFT_LIMIT)


def health_drift_anomaly(health: float, smoothed: float | None) -> list[Anomaly]:
    """A mean health of layers, 0 to 1, that fell under :data:`HEALTH_FALL` of its running mean."""
    if smoothed is None or smoothed <= 0.0:
        return []
    return _beyond("gradient_health_drift", "share of usual health", health / smoothed, HEALTH_FALL, below=True)


def layer_anomalies(dead: int, exploding: int, layers: int) -> list[Anomaly]:
    """Layers without a gradient, if they are too many, and any layer with huge entries."""
    return _beyond("gradient_dead_layers", "share of dead layers", dead / layers, DEAD_LAYERS_SHARE) + _beyond(
        "gradient_exploding_layers", "exploding_layers", float(exploding), 0.0
    )


def nonfinite_anomalies(values: Mapping[str, float]) -> list[Anomaly]:
    """NaN and infinity among an update's numbers."""
    bad = sorted(name for name, value in values.items() if not math.isfinite(value))
    if not bad:
        return []
    return [
        Anomaly(
            kind="numerical_instability", value=float(len(bad)), threshold=0.0, detail="not finite: " + ", ".join(bad)
        )
    ]


def trend(now: float, before: float | None) -> Trend | None:
    """Direction of the rolling accuracy in percent against one batch earlier; None if neither flat nor clear."""
    if before is None:
        return None
    delta = now - before
    if abs(delta) < PLATEAU:
        return Trend(kind="plateau", delta=delta, now=now, before=before)
    if abs(delta) < TREND:
        return None
    return Trend(kind="improvement" if delta > 0 else "degradation", delta=delta, now=now, before=before)


def performance_drop(current: float, rolling: float | None) -> float | None:
    """Relative drop in percent of ``current`` against the ``rolling`` accuracy, if beyond :data:`DROP_PERCENT`."""
    if rolling is None or rolling <= 0.0:
        return None
    drop = 100.0 * (rolling - current) / rolling
    return drop if drop > DROP_PERCENT else None


def reward_hacking(contribution: float | None, improvement: float) -> RewardHack | None:
    """Credit of a seed that is out of proportion to the change of accuracy since it came; percentage points."""
    if contribution is None or contribution < RANSOM_CONTRIBUTION:
        return None
    if improvement < RANSOM_DEGRADATION:
        return RewardHack(
            pattern="ransomware_signature", contribution=contribution, improvement=improvement, ratio=None
        )
    if improvement > 0.0 and contribution / improvement > ATTRIBUTION_RATIO:
        return RewardHack(
            pattern="attribution_ratio",
            contribution=contribution,
            improvement=improvement,
            ratio=contribution / improvement,
        )
    return None


def memory_pressure(used_bytes: float, total_bytes: float) -> float | None:
    """Share of memory in use, if beyond :data:`MEMORY_LIMIT`."""
    share = used_bytes / total_bytes if total_bytes > 0 else 0.0
    return share if share > MEMORY_LIMIT else None


def rolling_mean(values: Iterable[float]) -> float | None:
    """Mean, or None of nothing."""
    kept = list(values)
    return math.fsum(kept) / len(kept) if kept else None
