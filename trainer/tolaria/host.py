"""The host: a small convolutional network with named slots between its blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from trainer.kasmina.slot import Slot
from trainer.tolaria.data import CLASSES


class Host(nn.Module):
    """``n_slots`` blocks of one narrow convolution each, with a slot ``r0c<i>`` behind every block.

    It is narrow on purpose: on its own it stays well below what the data allow, so that growth can pay.
    Only group normalisation is used, so training and evaluation run the same graph.
    """

    def __init__(self, channels: int, n_slots: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block(1 if i == 0 else channels, channels) for i in range(n_slots))
        self.slots = nn.ModuleDict({f"r0c{i}": Slot(f"r0c{i}", channels) for i in range(n_slots)})
        self.head = nn.Linear(channels * 4, CLASSES)
        self.pool = nn.AdaptiveAvgPool2d(2)

    @property
    def slot_list(self) -> list[Slot]:
        """Slots in the order of the blocks."""
        return [slot for slot in self.slots.values() if isinstance(slot, Slot)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [N, 10] of images [N, 1, 8, 8]."""
        features = images
        for block, slot in zip(self.blocks, self.slots.values(), strict=True):
            features = slot(block(features))
        logits: torch.Tensor = self.head(self.pool(features).flatten(1))
        return logits

    def compile_blocks(self) -> None:
        """Compile each block on its own.

        Slots change their graph whenever a seed changes stage: compiling the whole would recompile every few epochs.
        """
        for block in self.blocks:
            block.compile(backend="inductor")

    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters of the bare host, without any seed's."""
        return [*self.blocks.parameters(), *self.head.parameters()]

    @property
    def parameter_count(self) -> int:
        """Trainable parameters of the bare host."""
        return sum(p.numel() for p in self.own_parameters())

    @property
    def seed_parameter_count(self) -> int:
        """Trainable parameters of all seeds that are planted."""
        return sum(slot.seed.parameter_count for slot in self.slot_list if slot.seed is not None)

    @contextmanager
    def only(self, enabled: dict[str, bool]) -> Iterator[None]:
        """Within the block, slots whose value is False pass their features through."""
        before = {slot.slot_id: slot.enabled for slot in self.slot_list}
        for slot in self.slot_list:
            slot.enabled = enabled.get(slot.slot_id, slot.enabled)
        try:
            yield
        finally:
            for slot in self.slot_list:
                slot.enabled = before[slot.slot_id]


def _block(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, groups=channels_in),
        nn.GroupNorm(1, channels_out),
        nn.ReLU(),
    )
