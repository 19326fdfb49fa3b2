"""Diagnostics of a policy update: pure functions of tensors, scalar tensors out, nothing leaves the device here.

Notation: r = pi_new(a|s) / pi_old(a|s) over the heads that mattered, eps the clip range, V the critic when the actions
were drawn, A the advantages, R = A + V the lambda-returns, the critic's targets. Names are those of ``PolicyUpdate``.
Sources: [PPO] Schulman et al. 2017, arXiv:1707.06347; [KL] J. Schulman, "Approximating KL divergence", 2020; [GAE]
arXiv:1506.02438.
"""

from __future__ import annotations

from typing import Final

import torch

from trainer.tamiyo.readback import Scalars

LOW_RETURN_VARIANCE: Final = 1e-3
"""Below this spread of returns (0.03 reward) explained variance divides noise by noise."""

UNDERFLOW_LOG_PROB: Final = -50.0
"""exp(-50) is 2e-22: products of such ratios lose all precision in float32 soon after."""

STD_FLOOR: Final = 1e-6
"""Smallest spread that advantages are divided by."""

GRAD_NORM_ALARM: Final = 10.0
"""Gradient norm before clipping that is no ordinary one: ten times the usual clipping limit."""


def kl_estimate(log_ratio: torch.Tensor) -> torch.Tensor:
    """mean((r - 1) - log r) in nats, the k3 estimate of KL(old || new) from log r [N] [KL]."""
    return (log_ratio.exp() - 1.0 - log_ratio).mean()


def trust_region(log_ratio: torch.Tensor, clip: float) -> Scalars:
    """Movement of the policy on each step, from log r [N].

    ``kl_divergence`` = mean((r - 1) - log r), the k3 estimate of KL(old || new) [KL]; ``kl_reverse`` =
    mean(r log r - (r - 1)), by the same construction an estimate of KL(new || old) from steps of the old policy; clip
    fractions are the shares of steps with r outside 1 ± eps [PPO §3], ``trust_region_violations`` their number.
    """
    ratio = log_ratio.exp()
    forward = (ratio - 1.0) - log_ratio  # kl_estimate before its mean
    above, below = ratio > 1.0 + clip, ratio < 1.0 - clip
    return {
        "kl_divergence": forward.mean(),
        "kl_reverse": (ratio * log_ratio - (ratio - 1.0)).mean(),
        "trust_region_violations": (above | below).sum(),
        "clip_fraction": (above | below).float().mean(),
        "clip_fraction_positive": above.float().mean(),
        "clip_fraction_negative": below.float().mean(),
        "ratio_mean": ratio.mean(),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "ratio_std": ratio.std(unbiased=False),
        "joint_ratio_max": ratio.max(),
    }


def value_quality(values: torch.Tensor, returns: torch.Tensor) -> Scalars:
    """Quality of the predictions V [N] of R [N]: V of the rollout, before it is fitted to R, as in SB3 and CleanRL.

    ``explained_variance`` = 1 - Var(R - V) / Var(R); ``value_nrmse`` = sqrt(mean((V - R)^2)) / std(R);
    ``value_target_correlation`` is Pearson's. Spreads are population ones. ``ev_low_return_variance`` marks a
    denominator under :data:`LOW_RETURN_VARIANCE`.
    """
    error = values - returns
    variance = returns.var(unbiased=False)
    value_std, return_std = values.std(unbiased=False), variance.sqrt()
    covariance = ((values - values.mean()) * (returns - returns.mean())).mean()
    return {
        "explained_variance": 1.0 - error.var(unbiased=False) / variance.clamp_min(1e-12),
        "ev_low_return_variance": variance < LOW_RETURN_VARIANCE,
        "ev_return_variance": variance,
        "value_nrmse": error.square().mean().sqrt() / return_std.clamp_min(1e-6),
        "value_prediction_error_mean": error.mean(),
        "value_prediction_error_std": error.std(unbiased=False),
        "value_target_correlation": covariance / (value_std * return_std).clamp_min(1e-12),
        "value_mean": values.mean(),
        "value_std": value_std,
        "value_min": values.min(),
        "value_max": values.max(),
    }


def return_statistics(returns: torch.Tensor) -> Scalars:
    """Moments and percentiles (linear interpolation) of R [N]; skewness = mean(((R - mean) / std)^3)."""
    quantiles = torch.quantile(returns, torch.tensor([0.1, 0.5, 0.9], device=returns.device))
    return {
        "return_mean": returns.mean(),
        "return_std": returns.std(unbiased=False),
        "return_variance": returns.var(unbiased=False),
        "return_skewness": _standard(returns).pow(3).mean(),
        "return_p10": quantiles[0],
        "return_p50": quantiles[1],
        "return_p90": quantiles[2],
    }


def td_statistics(td_errors: torch.Tensor) -> Scalars:
    """Mean, spread and mean size of delta_t = r_t + gamma V_(t+1) - V_t [N] [GAE]."""
    return {
        "td_error_mean": td_errors.mean(),
        "td_error_std": td_errors.std(unbiased=False),
        "bellman_error": td_errors.abs().mean(),
    }


def normalize_advantages(advantages: torch.Tensor) -> torch.Tensor:
    """Advantages [N] with zero mean and unit (population) spread; the spread is never taken below a floor."""
    return (advantages - advantages.mean()) / advantages.std(unbiased=False).clamp_min(STD_FLOOR)


def advantage_statistics(used: torch.Tensor) -> Scalars:
    """The normalised advantages [N] that the loss was computed from; kurtosis is the excess over the normal's 3."""
    standard = _standard(used)
    return {
        "advantage_mean": used.mean(),
        "advantage_std": used.std(unbiased=False),
        "advantage_skewness": standard.pow(3).mean(),
        "advantage_kurtosis": standard.pow(4).mean() - 3.0,
        "advantage_positive_ratio": (used > 0).float().mean(),
    }


def raw_advantage_statistics(advantages: torch.Tensor, usable: torch.Tensor) -> Scalars:
    """A [N] before normalisation; ``d5_…`` over the ``usable`` steps [N], those with a choice."""
    weight = usable.to(advantages.dtype)
    centred = advantages - mean_where(advantages, weight)
    return {
        "pre_norm_advantage_mean": advantages.mean(),
        "pre_norm_advantage_std": advantages.std(unbiased=False),
        "d5_pre_norm_advantage_std": mean_where(centred.square(), weight).sqrt(),
    }


def is_floored(advantages: torch.Tensor) -> torch.Tensor:
    """Return True if normalisation divided by the floor in place of the spread of the raw advantages [N]."""
    return advantages.std(unbiased=False) < STD_FLOOR


def gradient_norms(before: torch.Tensor, after: torch.Tensor, max_norm: float) -> Scalars:
    """Norms of the whole gradient before and after clipping, by mini-batch [M].

    ``grad_norm`` is the largest that remained; ``grad_clip_fraction`` the share of mini-batches beyond ``max_norm``;
    ``gradient_utilization`` = mean(before) / max_norm, how much of the limit was asked for; ``gradient_cv`` =
    std(before) / mean(before).
    """
    return {
        "grad_norm": after.max(),
        "grad_clip_fraction": (before > max_norm).float().mean(),
        "gradient_utilization": before.mean() / max_norm,
        "gradient_cv": before.std(unbiased=False) / before.mean().clamp_min(1e-12),
    }


def numerics(log_prob: torch.Tensor, pre_clip_norm: torch.Tensor, kl: torch.Tensor) -> Scalars:
    """Closeness to numerical trouble, from the joint log-probability of the actions [N].

    ``log_prob_underflow_count`` counts log-probabilities under -50. ``numerical_stability_score`` is the product of
    the share of finite log-probabilities, 1 - the share of underflows, 1 / (1 + max(0, log10(norm / 10))) for the
    gradient norm before clipping, and exp(-max(0, kl)); 1 is healthy, a gradient norm of 100 halves it. Ordinary
    clipping costs nothing: norms count from :data:`GRAD_NORM_ALARM`. Ours, composed so that each factor alone can take
    it to 0.
    """
    finite = log_prob.isfinite().float().mean()
    under = (log_prob < UNDERFLOW_LOG_PROB).float().mean()
    excess = (pre_clip_norm / GRAD_NORM_ALARM).clamp_min(1.0).log10()
    score = finite * (1.0 - under) / (1.0 + excess) * torch.exp(-kl.clamp_min(0.0))
    return {
        "log_prob_min": log_prob.min(),
        "log_prob_max": log_prob.max(),
        "log_prob_underflow_count": (log_prob < UNDERFLOW_LOG_PROB).sum(),
        "numerical_stability_score": score.nan_to_num(0.0),
    }


def mean_where(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean of the values [N], weighted [N]; NaN where nothing has a weight."""
    return (values * weight).sum() / weight.sum()


def _standard(values: torch.Tensor) -> torch.Tensor:
    return (values - values.mean()) / values.std(unbiased=False).clamp_min(1e-12)
