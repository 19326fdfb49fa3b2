"""Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438)."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Advantages:
    """Advantages A, lambda-returns A + V and TD errors, each [T, N]."""

    advantage: torch.Tensor
    returns: torch.Tensor
    td_error: torch.Tensor


def compute_gae(
    *,
    rewards: torch.Tensor,
    values: torch.Tensor,
    dones: torch.Tensor,
    last_value: torch.Tensor,
    gamma: float,
    lam: float,
) -> Advantages:
    """Advantages A_t = sum_l (gamma lam)^l delta_(t+l) with delta_t = r_t + gamma V_(t+1) (1 - done_t) - V_t.

    Args:
        rewards: rewards [T, N].
        values: V(s_t) [T, N].
        dones: 1 where the episode ended after step t [T, N].
        last_value: V of the state after the last step [N].
        gamma: discount in [0, 1].
        lam: lambda in [0, 1].
    """
    following = torch.cat([values[1:], last_value[None]])
    alive = 1.0 - dones
    td_error = rewards + gamma * following * alive - values
    advantage = torch.zeros_like(rewards)
    running = torch.zeros_like(last_value)
    for t in reversed(range(rewards.shape[0])):
        running = td_error[t] + gamma * lam * alive[t] * running
        advantage[t] = running
    return Advantages(advantage=advantage, returns=advantage + values, td_error=td_error)
