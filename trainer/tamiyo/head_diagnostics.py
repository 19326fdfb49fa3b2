"""Diagnostics of the choices of a policy, by head and all together: pure functions, as in :mod:`.diagnostics`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import torch

from trainer.tamiyo.actions import HEADS
from trainer.tamiyo.diagnostics import mean_where
from trainer.tamiyo.readback import Scalars

OF_CHOICES: Final = frozenset({"policy_determinism", "dominant_action_ratio", "d5_pre_norm_advantage_std"})
"""Diagnostics of the steps with a choice: NaN, and not measured, in a rollout without such a step."""


def per_head(
    new: dict[str, torch.Tensor],
    old: dict[str, torch.Tensor],
    choices: dict[str, torch.Tensor],
    causal: torch.Tensor,
    clip: float,
) -> Scalars:
    """Dynamics of each head over the steps where it mattered.

    Args:
        new: log-probabilities of all choices during the pass, by head [N, choices]; masked ones at most -1e8.
        old: the same when the actions were drawn.
        choices: chosen index by head [N].
        causal: True where a head mattered [N, 8].
        clip: clip range.

    Returns:
        ``head_kl`` the exact KL(old || new) = sum p_old (log p_old - log p_new); ``approx_kl_max`` its sum over the
        heads that mattered, of the step where that is largest; ``head_entropy`` = H / ln(allowed choices), over the
        steps with a choice; ``head_clip_fraction`` and ``head_ratio_max`` of the head's own ratio;
        ``head_active_ratio`` and ``causal_mask_coverage`` the share of steps where it mattered;
        ``head_learnable_fraction`` the share where it also had a choice. A head without such steps yields NaN, which
        the reader leaves out.
    """
    scalars: Scalars = {}
    by_step = []
    for index, head in enumerate(HEADS):
        log_new, log_old = new[head], old[head]
        matters = causal[:, index].float()
        allowed = (log_old > -1e8).sum(-1)
        learnable = matters * (allowed > 1).float()
        ratio = _gather(log_new - log_old, choices[head]).exp()
        kl = (log_old.exp() * (log_old - log_new)).sum(-1).clamp_min(0.0)  # Rounding can take it below 0.
        by_step.append(kl * matters)
        entropy = entropy_of(log_new) / allowed.clamp_min(2).float().log()
        outside = ((ratio - 1.0).abs() > clip).float()
        scalars |= {
            f"head_kl.{head}": mean_where(kl, matters),
            f"head_entropy.{head}": mean_where(entropy, learnable),
            f"head_clip_fraction.{head}": mean_where(outside, matters),
            f"head_ratio_max.{head}": _max_where(ratio, matters > 0),
            f"head_active_ratio.{head}": matters.mean(),
            f"causal_mask_coverage.{head}": matters.mean(),
            f"head_learnable_fraction.{head}": learnable.mean(),
        }
    return scalars | {"approx_kl_max": torch.stack(by_step).sum(0).max()}


def policy_quality(
    log_probs: dict[str, torch.Tensor],
    choices: dict[str, torch.Tensor],
    causal: torch.Tensor,
    names: Mapping[str, Sequence[str]],
) -> Scalars:
    """Behaviour of the policy that acted, over N steps.

    ``policy_determinism`` = 1 - sum(H) / sum(ln allowed choices), both over the heads that mattered and had a choice,
    0 to 1 for stale log-probabilities that do not add up to one, too;
    ``action_diversity`` the number of different actions, choices that had no effect disregarded;
    ``forced_step_ratio`` the share of steps where only one operation was allowed; over the others
    ``dominant_action_ratio`` is the share of the commonest operation and ``op_distribution`` the share of each.
    :data:`OF_CHOICES` and the operations' shares are NaN where no step had a choice.
    """
    entropies, maxima = [], []
    for index, head in enumerate(HEADS):
        allowed = (log_probs[head] > -1e8).sum(-1)
        weight = causal[:, index].float() * (allowed > 1).float()
        entropies.append((entropy_of(log_probs[head].log_softmax(-1)) * weight).sum())
        maxima.append((allowed.clamp_min(1).float().log() * weight).sum())
    n_ops = len(names["op"])
    forced = (log_probs["op"] > -1e8).sum(-1) <= 1
    chosen = (choices["op"][:, None] == torch.arange(n_ops, device=causal.device)) & ~forced[:, None]
    shares = chosen.float().sum(0) / (~forced).float().sum()
    return {
        "policy_determinism": 1.0 - torch.stack(entropies).sum() / torch.stack(maxima).sum(),
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


def entropy_of(log_probs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats [N] of distributions given by log-probabilities [N, choices]."""
    return -(log_probs.exp() * log_probs).sum(-1)


def _gather(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return table.gather(-1, index[:, None]).squeeze(-1)


def _max_where(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    largest = values.masked_fill(~mask, -math.inf).max()
    return torch.where(mask.any(), largest, torch.full_like(largest, math.nan))
