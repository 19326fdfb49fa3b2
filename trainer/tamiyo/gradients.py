"""Gradient norms of the policy's heads, from the norms of their parameters."""

from __future__ import annotations

import torch
from torch import nn

from trainer.tamiyo.policy import Policy
from trainer.tamiyo.readback import Scalars


def gradient_groups(policy: Policy) -> dict[str, list[int]]:
    """Positions among ``policy.named_parameters()`` of each action head's parameters and of the critic's head."""
    names = [name for name, _ in policy.named_parameters()]
    groups = {head: [i for i, name in enumerate(names) if name.startswith(f"heads.{head}.")] for head in policy.heads}
    groups["value"] = [i for i, name in enumerate(names) if name.startswith("value_head.")]
    return groups


def parameter_norms(parameters: list[nn.Parameter]) -> torch.Tensor:
    """L2 norm of every parameter's gradient [P], 0 where there is none. Does not wait for the device."""
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    return torch.stack(torch._foreach_norm(grads))


def group_norms(norms: torch.Tensor, groups: dict[str, list[int]]) -> Scalars:
    """L2 norm of each group's gradient, mean over mini-batches, from parameter norms [M, P]."""
    squares = norms.square()
    return {f"head_grad_norm.{name}": squares[:, positions].sum(1).sqrt().mean() for name, positions in groups.items()}
