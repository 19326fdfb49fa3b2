"""The layout of observations, their normalisation and their health."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from trainer.kasmina.stages import Stage
from trainer.tamiyo.actions import BLUEPRINT_IDS

HOST_FEATURES: Final = 6
CONTEXT_FEATURES: Final = 6
SLOT_FEATURES: Final = len(Stage) + len(BLUEPRINT_IDS) + 8

CLIP: Final = 5.0
"""Bound of a normalised feature, in standard deviations."""

NEAR_CLIP: Final = 0.9 * CLIP
OUTLIER: Final = 3.0


@dataclass(frozen=True)
class Layout:
    """Positions of host, context and slot features in an observation of ``n_slots`` slots."""

    n_slots: int

    @property
    def size(self) -> int:
        """Features in one observation."""
        return HOST_FEATURES + CONTEXT_FEATURES + self.n_slots * SLOT_FEATURES

    @property
    def groups(self) -> dict[str, slice]:
        """Features by group: host, context, slot."""
        first = HOST_FEATURES + CONTEXT_FEATURES
        return {
            "host": slice(0, HOST_FEATURES),
            "context": slice(HOST_FEATURES, first),
            "slot": slice(first, self.size),
        }


def fingerprint(observation: Sequence[float]) -> str:
    """Short hash of a raw observation, equal for equal observations."""
    text = ",".join(f"{value:.6g}" for value in observation)
    return f"obs-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class RunningNorm(nn.Module):
    """Normalises features [.., D] by the mean and variance of all observations absorbed so far.

    It changes only in :meth:`absorb`, once per rollout, so that old and new policy see the same inputs in an update.
    Merging follows Chan, Golub and LeVeque (1979).
    """

    mean: torch.Tensor
    variance: torch.Tensor
    count: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def absorb(self, observations: torch.Tensor) -> None:
        """Absorb a rollout's raw observations [N, D]."""
        n = float(observations.shape[0])
        mean, variance = observations.mean(0), observations.var(0, unbiased=False)
        total = self.count + n
        delta = mean - self.mean
        old_share = self.count / total
        self.variance.copy_(
            old_share * self.variance + (1 - old_share) * variance + delta**2 * old_share * (1 - old_share)
        )
        self.mean += delta * (n / total)
        self.count.copy_(total)

    def scores(self, observations: torch.Tensor) -> torch.Tensor:
        """Standard scores [.., D], not yet clipped."""
        return (observations - self.mean) / torch.sqrt(self.variance + 1e-4)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Standard scores clipped to ±:data:`CLIP`."""
        return self.scores(observations).clamp(-CLIP, CLIP)


@torch.no_grad()
def observation_health(raw: torch.Tensor, norm: RunningNorm, layout: Layout) -> dict[str, torch.Tensor]:
    """Health of observations [N, D] as scalars on their device: group means and spreads, outliers, clipping, NaN.

    ``normalization_drift`` is the mean distance, in running standard deviations, of the sample's mean from the running
    mean.
    """
    scores = norm.scores(raw)
    size = scores.abs()
    values = {
        "outlier_pct": (size > OUTLIER).float().mean(),
        "near_clip_pct": (size > NEAR_CLIP).float().mean(),
        "clip_pct": (size > CLIP).float().mean(),
        "nan_count": raw.isnan().sum(),
        "inf_count": raw.isinf().sum(),
        "nan_pct": raw.isnan().float().mean(),
        "inf_pct": raw.isinf().float().mean(),
        "normalization_drift": scores.mean(0).abs().mean(),
    }
    for name, part in layout.groups.items():
        values[f"{name}_features_mean"] = raw[:, part].mean()
        values[f"{name}_features_std"] = raw[:, part].std(unbiased=False)
    return values
