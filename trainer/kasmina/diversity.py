"""Diversity of the seeds of one host."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch


def blueprint_diversity(blueprint_ids: Sequence[str]) -> float | None:
    """Shannon entropy of the blueprints in use over its maximum ln(n), in [0, 1].

    1 when all ``n`` seeds differ, 0 when all are alike; None below two seeds, where there is nothing to compare.
    Source: Pielou's evenness (1966) with ln(n seeds) as the maximum.
    """
    n = len(blueprint_ids)
    if n < 2:
        return None
    shares = [count / n for count in Counter(blueprint_ids).values()]
    return max(0.0, -sum(p * math.log(p) for p in shares) / math.log(n))


def output_similarity(changes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean absolute cosine, 0 to 1, between what each pair of seeds changes, flattened; a scalar on their device.

    Seeds that change nothing yet are left out; NaN when fewer than two remain. Does not wait for the device.
    """
    if len(changes) < 2:
        return torch.full((), math.nan)
    rows = torch.stack([change.flatten().float() for change in changes])
    norms = rows.norm(dim=1)
    live = (norms > 0).float()
    unit = rows / norms.clamp_min(1e-30)[:, None]
    pairs = live[:, None] * live[None, :]
    pairs = pairs - torch.diag(live)
    similarity: torch.Tensor = ((unit @ unit.T).abs() * pairs).sum() / pairs.sum()
    return similarity
