"""Gradient health of a policy update, measured with fused kernels before clipping and read later."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from trainer.tamiyo.policy import Policy
from trainer.tamiyo.readback import Scalars

DEAD_ZERO_SHARE: Final = 0.9
"""Share of zero gradient entries above which a layer counts as dead."""

LARGE_ENTRY: Final = 10.0
EXPLODING_SHARE: Final = 0.1
"""Share of entries larger than 10 above which a layer counts as exploding."""


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


@torch.no_grad()
def gradient_statistics(parameters: list[nn.Parameter], names: list[str]) -> Scalars:
    """State of the gradients as they are now, entry by entry.

    ``nan_grad_count`` and ``inf_grad_count`` count entries, ``grad_zero_fraction`` is the share of zeros,
    ``dead_layers`` and ``exploding_layers`` count tensors beyond the shares above, ``grad_norm_per_layer`` holds L2
    norms and ``grad_norm_ratio`` the largest over the smallest norm that is not zero.
    """
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    sizes = torch.tensor([float(g.numel()) for g in grads], device=grads[0].device)
    zeros = torch.stack([(g == 0).sum() for g in grads]).float()
    large = torch.stack([(g.abs() > LARGE_ENTRY).sum() for g in grads]).float()
    norms = torch.stack(torch._foreach_norm(grads))
    smallest = torch.where(norms > 0, norms, torch.full_like(norms, float("inf"))).min()
    return {
        "nan_grad_count": torch.stack([g.isnan().sum() for g in grads]).sum(),
        "inf_grad_count": torch.stack([g.isinf().sum() for g in grads]).sum(),
        "grad_zero_fraction": zeros.sum() / sizes.sum(),
        "dead_layers": (zeros / sizes > DEAD_ZERO_SHARE).sum(),
        "exploding_layers": (large / sizes > EXPLODING_SHARE).sum(),
        "grad_norm_ratio": norms.max() / smallest,
    } | {f"grad_norm_per_layer.{name}": norm for name, norm in zip(names, norms.unbind(), strict=True)}


def group_norms(norms: torch.Tensor, groups: dict[str, list[int]]) -> Scalars:
    """L2 norm of each group's gradient, mean over mini-batches, from parameter norms [M, P]."""
    squares = norms.square()
    return {f"head_grad_norm.{name}": squares[:, positions].sum(1).sqrt().mean() for name, positions in groups.items()}
