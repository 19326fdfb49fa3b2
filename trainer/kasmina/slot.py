"""A slot of the host: the place where a seed receives the host's features, isolated until it is blended in."""

from __future__ import annotations

import torch
from torch import nn

from trainer.kasmina.alpha import AlphaAlgorithm
from trainer.kasmina.blueprints import BLUEPRINTS
from trainer.kasmina.stages import BLENDED, Stage
from trainer.seeding import seeded_init


class Seed(nn.Module):
    """A grown module: its body, and the way in which its result is mixed with the host's features."""

    def __init__(self, blueprint_id: str, channels: int, algorithm: AlphaAlgorithm) -> None:
        super().__init__()
        self.blueprint_id = blueprint_id
        self.algorithm = algorithm
        self.body = BLUEPRINTS[blueprint_id].build(channels)
        gated = algorithm is AlphaAlgorithm.GATE
        self.gate = nn.Conv2d(channels, channels, 1) if gated else None

    def mix(self, features: torch.Tensor, alpha: float) -> torch.Tensor:
        """Features [N, C, H, W] with the seed's change at weight ``alpha`` in [0, 1]; at 0 they come back unchanged."""
        if alpha == 0.0:
            return features
        change: torch.Tensor = self.body(features)
        if self.algorithm is AlphaAlgorithm.MULTIPLY:
            return features * (1.0 + alpha * torch.tanh(change))
        if self.gate is not None:
            change = change * torch.sigmoid(self.gate(features))
        mixed: torch.Tensor = features + alpha * change
        return mixed

    @property
    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(p.numel() for p in self.parameters())


class Slot(nn.Module):
    """One place in the host where a seed can grow. ``enabled`` switches a blended seed off for counterfactuals."""

    def __init__(self, slot_id: str, channels: int) -> None:
        super().__init__()
        self.slot_id = slot_id
        self.channels = channels
        self.seed: Seed | None = None
        self.stage = Stage.DORMANT
        self.alpha = 0.0
        self.enabled = True
        self.incubated: torch.Tensor | None = None

    def plant(self, blueprint_id: str, algorithm: AlphaAlgorithm, rng_seed: int) -> Seed:
        """Put in a new seed, initialised from ``rng_seed``; the caller moves it to its device."""
        with seeded_init(rng_seed):
            self.seed = Seed(blueprint_id, self.channels, algorithm)
        return self.seed

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Host features [N, C, H, W] as the rest of the host receives them.

        A seed in TRAINING leaves no trace here: its input is set aside, detached, for :meth:`Host.rehearse`.
        """
        if self.seed is None or not self.enabled:
            return features
        if self.stage is Stage.TRAINING and torch.is_grad_enabled():
            self.incubated = features.detach()
        return self.seed.mix(features, self.alpha) if self.stage in BLENDED else features

    def rehearse(self, features: torch.Tensor) -> torch.Tensor:
        """Features as they would be if the seed in TRAINING were fully blended in."""
        if self.stage is Stage.TRAINING and self.seed is not None:
            return self.seed.mix(features, 1.0)
        return self.forward(features)
