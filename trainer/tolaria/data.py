"""The real data: scikit-learn's bundled handwritten digits, 1,797 grey images of 8 x 8 pixels in 10 classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from sklearn.datasets import load_digits

CLASSES: Final = 10
_VALIDATION: Final = 300
_HELD_OUT: Final = 300
_SPLIT_SEED: Final = 20260102  # One split for every run: accuracies of different seeds stay comparable.


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Images [N, 1, 8, 8] with zero mean and unit variance over the training part, labels [N], on one device."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    val_images: torch.Tensor
    val_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor

    @classmethod
    def load(cls, device: torch.device) -> Digits:
        """Read the set, split it once for all (1,197 / 300 / 300) and put it on ``device``."""
        raw = load_digits()
        images = torch.as_tensor(raw.images, dtype=torch.float32).unsqueeze(1)
        labels = torch.as_tensor(raw.target, dtype=torch.long)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SPLIT_SEED))
        images, labels = images[order], labels[order]
        first = len(labels) - _VALIDATION - _HELD_OUT
        train = images[:first]
        images = (images - train.mean()) / train.std()
        parts = [slice(0, first), slice(first, first + _VALIDATION), slice(first + _VALIDATION, None)]
        (train_x, val_x, test_x), (train_y, val_y, test_y) = (
            [whole[part].to(device) for part in parts] for whole in (images, labels)
        )
        return cls(
            train_images=train_x,
            train_labels=train_y,
            val_images=val_x,
            val_labels=val_y,
            test_images=test_x,
            test_labels=test_y,
        )

    def batches(self, count: int, size: int, stream: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """``count`` mini-batches of ``size`` training images, drawn from ``stream`` without repetition."""
        order = torch.randperm(len(self.train_labels), generator=stream)[: count * size].to(self.train_labels.device)
        for chosen in torch.split(order, size):
            yield self.train_images[chosen], self.train_labels[chosen]
