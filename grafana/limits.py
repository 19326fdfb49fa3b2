"""Limits that only screens know: where esper-lite's views change colour and the registry counts no violations.

A signal whose violations are counted has its limits in the registry, and none here.
"""

from __future__ import annotations

from typing import Final

from esper_otel.events.declare import Threshold

_HEALTH: Final = "Limits of esper-lite's health panel."
_CRITIC: Final = "Limits of esper-lite's critic panel."
_HEADS: Final = "Limits of esper-lite's heads panel."
_INPUTS: Final = "Limits of esper-lite's observation check."
_SEEDS: Final = "Limits of esper-lite's seed cards."
_MEMORY: Final = "Limits of esper-lite's stability panel."


def _above(warning: float | None, critical: float | None, reason: str) -> Threshold:
    return Threshold(warning_above=warning, critical_above=critical, reason=reason)


def _below(warning: float | None, critical: float | None, reason: str) -> Threshold:
    return Threshold(warning_below=warning, critical_below=critical, reason=reason)


def _between(low: tuple[float, float], high: tuple[float, float], reason: str) -> Threshold:
    """``low`` and ``high`` are (warning, critical)."""
    return Threshold(
        warning_below=low[0], critical_below=low[1], warning_above=high[0], critical_above=high[1], reason=reason
    )


def _within(low: float, high: float, reason: str) -> Threshold:
    return Threshold(warning_below=low, warning_above=high, reason=reason)


SCREEN_LIMITS: Final[dict[str, Threshold]] = {
    "tamiyo.grad_norm": _above(5.0, 10.0, _HEALTH),
    "tamiyo.joint_ratio_max": _above(2.0, 3.0, "Limits of esper-lite's losses panel."),
    "tamiyo.policy_ratio_min": _below(0.5, 0.3, _HEALTH),
    "tamiyo.policy_ratio_std": _above(0.5, None, _HEALTH),
    "tamiyo.advantage_std": _between((0.5, 0.1), (2.0, 3.0), _HEALTH),
    "tamiyo.advantage_skewness": _between((-0.5, -1.0), (1.0, 2.0), _HEALTH),
    "tamiyo.advantage_kurtosis": _between((-1.0, -2.0), (3.0, 6.0), _HEALTH),
    "tamiyo.advantage_positive_fraction": _between((0.4, 0.2), (0.6, 0.8), _HEALTH),
    "tamiyo.log_prob_min": _below(-50.0, -100.0, _HEALTH),
    "tamiyo.value_target_correlation": _below(0.6, 0.3, _CRITIC),
    "tamiyo.value_nrmse": _above(None, 1.0, _CRITIC),
    "tamiyo.bellman_error": _above(20.0, 50.0, _CRITIC),
    "tamiyo.td_error_mean": _between((-5.0, -15.0), (5.0, 15.0), _CRITIC),
    "tamiyo.return_variance": _above(100.0, None, _CRITIC),
    "tamiyo.return_skewness": _between((-1.0, -2.0), (1.0, 2.0), _CRITIC),
    "tamiyo.q_variance": _below(0.1, 0.01, "Limits of esper-lite's action panel."),
    "tamiyo.decision_density": _below(0.7, 0.3, _HEALTH),
    "tamiyo.lstm_rms": _between((1e-4, 1e-6), (5.0, 10.0), _HEALTH),
    "tamiyo.observation.outlier_fraction": _above(0.05, 0.10, _INPUTS),
    "tamiyo.observation.near_clip_fraction": _above(0.01, 0.05, _INPUTS),
    "tamiyo.observation.clip_fraction": _above(0.001, 0.01, _INPUTS),
    "tamiyo.observation.normalization_drift": _above(1.0, 2.0, _INPUTS),
    "tamiyo.head_entropy": _below(0.5, 0.25, _HEADS),
    "tamiyo.head_grad_norm": _between((0.1, 0.01), (2.0, 5.0), _HEADS),
    "tamiyo.head_policy_ratio_max": _above(1.2, 1.5, _HEADS),
    "tamiyo.gradient_cv": _above(0.5, 2.0, _HEADS),
    "tamiyo.dominant_action_fraction": _above(0.7, 0.95, "Limits of esper-lite on the share of WAIT."),
    "tamiyo.update.duration": _above(1.5, 3.0, _MEMORY),
    "tamiyo.dataloader_wait_fraction": _above(0.25, 0.5, _MEMORY),
    "tamiyo.cuda_memory.fragmentation": _above(0.2, 0.3, _MEMORY),
    "tolaria.val_loss": _above(0.5, 1.0, "Limits of esper-lite's environment overview."),
    "tolaria.host_grad_norm": _above(50.0, 100.0, "Limits of esper-lite's health monitor."),
    "tolaria.dead_layers": _above(0.5, None, "Limits of esper-lite's policy diagnostics."),
    "tolaria.exploding_layers": _above(None, 0.5, "Limits of esper-lite's policy diagnostics."),
    "tolaria.cuda_memory.fragmentation": _above(0.2, 0.3, _MEMORY),
    "kasmina.seed_vanishing": _above(0.5, None, _SEEDS),
    "kasmina.seed_exploding": _above(None, 0.5, _SEEDS),
    "kasmina.seed_gradient_health": _below(0.8, 0.3, "Limits of esper-lite's layer map."),
    "kasmina.seed_interaction": _below(-0.5, None, _SEEDS),
    "kasmina.seed_contribution_velocity": _below(-0.01, None, _SEEDS),
    "simic.step_reward": _below(0.0, -0.5, "Limits of esper-lite's environment overview."),
    "simic.episode_reward": _below(0.0, -5.0, "Limits of esper-lite's environment overview."),
    "simic.shapley_value": _below(None, -0.01, "Limits of esper-lite's Shapley panel."),
    "simic.param_growth": _above(2.0, 5.0, "Limits of esper-lite's environment overview."),
    "hw.gpu.memory.utilization": _above(0.75, 0.9, "Limits of esper-lite's system status."),
    "hw.temperature": _above(80.0, None, "Limits of esper-lite's web dashboard."),
    "hw.gpu.utilization": _above(0.8, 0.95, "Limits of esper-lite's system status."),
}
"""Limits by signal."""

BLUEPRINT_SUCCESS: Final = _below(0.5, 0.25, "Limits of esper-lite's seed graveyard.")
BLEND_SUCCESS: Final = _below(0.7, 0.5, "Limits of esper-lite's slots panel.")
YIELD: Final = _within(0.2, 0.9, "Limits of esper-lite's episode panel.")
SLOT_USE: Final = YIELD
PBRS_SHARE: Final = _within(0.1, 0.4, "Limits of esper-lite's reward panel.")
FROM_PEAK: Final = _below(-1.0, -5.0, "Limits of esper-lite's scoreboard.")
FRAGMENTATION: Final = _above(0.2, 0.3, _MEMORY)
SIGN: Final = _below(None, 0.0, "Colour of the sign.")
