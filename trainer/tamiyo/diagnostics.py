"""Diagnostics of a policy update: pure functions of tensors, scalar tensors out, nothing leaves the device here.

Notation: r = pi_new(a|s) / pi_old(a|s) over the heads that mattered, eps the clip range, V the critic, R the returns,
A the advantages. Sources: [PPO] Schulman et al. 2017, arXiv:1707.06347; [KL] J. Schulman, "Approximating KL
divergence", 2020; [GAE] arXiv:1506.02438. Names are those of ``PolicyUpdate``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import torch

from trainer.tamiyo.actions import HEADS
from trainer.tamiyo.readback import Scalars

LOW_RETURN_VARIANCE: Final = 1e-3
"""Below this spread of returns (0.03 reward) explained variance divides noise by noise."""

UNDERFLOW_LOG_PROB: Final = -50.0
"""exp(-50) is 2e-22: products of such ratios lose all precision in float32 soon after."""

STD_FLOOR: Final = 1e-6
"""Smallest spread that advantages are divided by."""


def kl_estimate(log_ratio: torch.Tensor) -> torch.Tensor:
    """mean((r - 1) - log r) in nats, the k3 estimate of KL(old || new) from log r [N] [KL]."""
    return (log_ratio.exp() - 1.0 - log_ratio).mean()


def trust_region(log_ratio: torch.Tensor, clip: float) -> Scalars:
    """How far the policy moved on each step, from log r [N].

    ``kl_divergence`` = mean((r - 1) - log r), the k3 estimate of KL(old || new) [KL]; ``approx_kl_max`` its largest
    term; ``kl_reverse`` = mean(r log r - (r - 1)), by the same construction an estimate of KL(new || old) from steps
    of the old policy; clip fractions are the shares of steps with r outside 1 ± eps [PPO §3],
    ``trust_region_violations`` their number.
    """
    ratio = log_ratio.exp()
    forward = (ratio - 1.0) - log_ratio  # kl_estimate before its mean
    above, below = ratio > 1.0 + clip, ratio < 1.0 - clip
    return {
        "kl_divergence": forward.mean(),
        "approx_kl_max": forward.max(),
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
    """How well V [N] predicts R [N].

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


def advantage_statistics(advantages: torch.Tensor, usable: torch.Tensor) -> Scalars:
    """A [N] before (``pre_norm_*``) and after normalisation; kurtosis is the excess over the normal's 3.

    ``d5_pre_norm_advantage_std`` is the spread before normalisation over the ``usable`` steps [N], those with a choice.
    """
    weight = usable.to(advantages.dtype)
    centred = advantages - _mean_where(advantages, weight)
    scaled = normalize_advantages(advantages)
    spread = advantages.std(unbiased=False)
    return {
        "pre_norm_advantage_mean": advantages.mean(),
        "pre_norm_advantage_std": spread,
        "d5_pre_norm_advantage_std": _mean_where(centred.square(), weight).sqrt(),
        "advantage_std_floored": spread < STD_FLOOR,
        "advantage_mean": scaled.mean(),
        "advantage_std": scaled.std(unbiased=False),
        "advantage_skewness": scaled.pow(3).mean(),
        "advantage_kurtosis": scaled.pow(4).mean() - 3.0,
        "advantage_positive_ratio": (advantages > 0).float().mean(),
    }


def per_head(
    new: dict[str, torch.Tensor],
    old: dict[str, torch.Tensor],
    choices: dict[str, torch.Tensor],
    causal: torch.Tensor,
    clip: float,
) -> Scalars:
    """Dynamics of each head over the steps where it mattered.

    Args:
        new: log-probabilities of all choices after the update, by head [N, choices]; masked ones at most -1e8.
        old: the same when the actions were drawn.
        choices: chosen index by head [N].
        causal: whether each head mattered [N, 8].
        clip: clip range.

    Returns:
        ``head_kl`` the exact KL(old || new) = sum p_old (log p_old - log p_new); ``head_entropy`` = H / ln(allowed
        choices), over the steps with a choice; ``head_clip_fraction`` and ``head_ratio_max`` of the head's own ratio;
        ``head_active_ratio`` and ``causal_mask_coverage`` the share of steps where it mattered;
        ``head_learnable_fraction`` the share where it also had a choice. A head without such steps yields NaN, which
        the reader leaves out.
    """
    scalars: Scalars = {}
    for index, head in enumerate(HEADS):
        log_new, log_old = new[head], old[head]
        matters = causal[:, index].float()
        allowed = (log_old > -1e8).sum(-1)
        learnable = matters * (allowed > 1).float()
        ratio = _gather(log_new - log_old, choices[head]).exp()
        kl = (log_old.exp() * (log_old - log_new)).sum(-1)
        entropy = entropy_of(log_new) / allowed.clamp_min(2).float().log()
        outside = ((ratio - 1.0).abs() > clip).float()
        scalars |= {
            f"head_kl.{head}": _mean_where(kl, matters),
            f"head_entropy.{head}": _mean_where(entropy, learnable),
            f"head_clip_fraction.{head}": _mean_where(outside, matters),
            f"head_ratio_max.{head}": _max_where(ratio, matters > 0),
            f"head_active_ratio.{head}": matters.mean(),
            f"causal_mask_coverage.{head}": matters.mean(),
            f"head_learnable_fraction.{head}": learnable.mean(),
        }
    return scalars


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


def policy_quality(
    log_probs: dict[str, torch.Tensor],
    choices: dict[str, torch.Tensor],
    causal: torch.Tensor,
    names: Mapping[str, Sequence[str]],
) -> Scalars:
    """What the policy does, over N steps.

    ``policy_determinism`` = 1 - sum(H) / sum(ln allowed choices), both over the heads that mattered and had a choice;
    ``action_diversity`` the number of different actions, choices that had no effect disregarded;
    ``dominant_action_ratio`` the share of the commonest operation; ``op_distribution`` the share of each operation;
    ``forced_step_ratio`` the share of steps where only one operation was allowed.
    """
    entropies, maxima = [], []
    for index, head in enumerate(HEADS):
        allowed = (log_probs[head] > -1e8).sum(-1)
        weight = causal[:, index].float() * (allowed > 1).float()
        entropies.append((entropy_of(log_probs[head]) * weight).sum())
        maxima.append((allowed.clamp_min(1).float().log() * weight).sum())
    n_ops = len(names["op"])
    shares = (choices["op"][:, None] == torch.arange(n_ops, device=causal.device)).float().mean(0)
    forced = (log_probs["op"] > -1e8).sum(-1) <= 1
    return {
        "policy_determinism": 1.0 - sum_of(entropies) / sum_of(maxima).clamp_min(1e-12),
        "action_diversity": _count_distinct(choices, causal, names),
        "dominant_action_ratio": shares.max(),
        "forced_step_ratio": forced.float().mean(),
        "usable_actor_timesteps": (~forced).sum(),
        "decision_density": 1.0 - forced.float().mean(),
        "valid_sample_ratio": (~forced).float().mean(),
    } | {f"op_distribution.{index}": shares[index] for index in range(n_ops)}


def _count_distinct(
    choices: dict[str, torch.Tensor], causal: torch.Tensor, names: Mapping[str, Sequence[str]]
) -> torch.Tensor:
    # Each action becomes one number, with digit 0 for a head that did not matter; ``unique`` would wait for the device.
    code = torch.zeros_like(choices["op"])
    for index, head in enumerate(HEADS):
        digit = torch.where(causal[:, index], choices[head] + 1, torch.zeros_like(choices[head]))
        code = code * (len(names[head]) + 1) + digit
    return (code.sort().values.diff() != 0).sum() + 1


def numerics(log_prob: torch.Tensor, pre_clip_norm: torch.Tensor, max_norm: float, kl: torch.Tensor) -> Scalars:
    """Closeness to numerical trouble, from the joint log-probability of the actions [N].

    ``log_prob_underflow_count`` counts log-probabilities under -50. ``numerical_stability_score`` is the product of
    the share of finite log-probabilities, 1 - the share of underflows, 1 / (1 + max(0, log10(norm / max_norm))) for
    the gradient norm before clipping, and exp(-max(0, kl)); 1 is healthy, a gradient norm a decade beyond its limit
    halves it. Ours, composed so that each factor alone can take it to 0.
    """
    finite = log_prob.isfinite().float().mean()
    under = (log_prob < UNDERFLOW_LOG_PROB).float().mean()
    excess = (pre_clip_norm / max_norm).clamp_min(1.0).log10()
    score = finite * (1.0 - under) / (1.0 + excess) * torch.exp(-kl.clamp_min(0.0))
    return {
        "log_prob_min": log_prob.min(),
        "log_prob_max": log_prob.max(),
        "log_prob_underflow_count": (log_prob < UNDERFLOW_LOG_PROB).sum(),
        "numerical_stability_score": score.nan_to_num(0.0),
    }


def entropy_of(log_probs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats [N] of distributions given by log-probabilities [N, choices]."""
    return -(log_probs.exp() * log_probs).sum(-1)


def sum_of(terms: list[torch.Tensor]) -> torch.Tensor:
    """Sum of scalar tensors."""
    return torch.stack(terms).sum()


def _gather(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return table.gather(-1, index[:, None]).squeeze(-1)


def _mean_where(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum()


def _max_where(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    largest = values.masked_fill(~mask, -math.inf).max()
    return torch.where(mask.any(), largest, torch.full_like(largest, math.nan))


def _standard(values: torch.Tensor) -> torch.Tensor:
    return (values - values.mean()) / values.std(unbiased=False).clamp_min(1e-12)
