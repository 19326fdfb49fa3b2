"""The host: a small convolutional network with named slots between its blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from trainer.kasmina.slot import Seed, Slot
from trainer.kasmina.stages import Stage
from trainer.tolaria.data import CLASSES


class Block(nn.Module):
    """One thin convolution. The first halves the resolution; later ones filter each channel and never mix them.

    A class of its own and not ``nn.Sequential``: the compiler skips modules whose code is torch's own.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        stride = 2 if channels_in == 1 else 1
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, groups=channels_in)
        self.norm = nn.GroupNorm(1, channels_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [N, C, H', W'] of features [N, C, H, W]."""
        return torch.relu(self.norm(self.conv(features)))


class Host(nn.Module):
    """``n_slots`` blocks of one thin convolution each, with a slot ``r0c<i>`` behind every block.

    It is weak on purpose: alone it stays well below the accuracy that the data allow, so that growth can pay.
    Only group normalisation is used, so training and evaluation run the same graph.
    """

    def __init__(self, channels: int, n_slots: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(1 if i == 0 else channels, channels) for i in range(n_slots))
        self.slots = nn.ModuleDict({f"r0c{i}": Slot(f"r0c{i}", channels) for i in range(n_slots)})
        self.head = nn.Linear(channels, CLASSES)

    @property
    def slot_list(self) -> list[Slot]:
        """Slots in the order of the blocks."""
        return [slot for slot in self.slots.values() if isinstance(slot, Slot)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [N, 10] of images [N, 1, 8, 8]."""
        features = images
        for block, slot in zip(self.blocks, self.slots.values(), strict=True):
            features = slot(block(features))
        return self._classify(features)

    def rehearse(self) -> tuple[torch.Tensor, list[nn.Parameter]] | None:
        """Logits of the last batch as if every seed in TRAINING were fully blended, and those seeds' parameters.

        This is the incubator: the pass starts from detached features and its loss must be differentiated with respect
        to the returned parameters alone (``backward(inputs=...)``), so a seed learns against the host it will meet
        while the host's outputs and gradients stay what they would be without it. None when no seed is in TRAINING.
        """
        slots = self.slot_list
        training = [i for i, slot in enumerate(slots) if slot.stage is Stage.TRAINING and slot.seed is not None]
        learning = [p for i in training for p in slots[i].parameters()]
        if not learning:
            return None
        first = training[0]
        features = slots[first].incubated
        assert features is not None, "forward() with gradients must run before rehearse()"
        for i in range(first, len(slots)):
            features = slots[i].rehearse(features if i == first else self.blocks[i](features))
        for slot in slots:
            slot.incubated = None
        return self._classify(features), learning

    def _classify(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(features.mean((2, 3)))
        return logits

    def compile_blocks(self) -> None:
        """Compile each block on its own.

        Slots change their graph whenever a seed changes stage: compiling the whole would recompile every few epochs.
        """
        for block in self.blocks:
            block.compile(backend="inductor")

    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters of the bare host, without any seed's."""
        return [parameter for _, parameter in self.own_named_parameters()]

    def own_named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The same with their names."""
        return [(name, p) for name, p in self.named_parameters() if not name.startswith("slots.")]

    @torch.no_grad()
    def seed_changes(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Change of each planted seed at full weight [N, C, H, W], in the current host, slot by slot."""
        changes: list[torch.Tensor] = []
        features = images
        for block, slot in zip(self.blocks, self.slot_list, strict=True):
            features = block(features)
            if slot.seed is not None:
                changes.append(slot.seed.mix(features, 1.0) - features)
            features = slot(features)
        return changes

    @property
    def parameter_count(self) -> int:
        """Trainable parameters of the bare host."""
        return sum(p.numel() for p in self.own_parameters())

    @property
    def seeds(self) -> list[Seed]:
        """Seeds that are planted, in the order of their slots."""
        return [slot.seed for slot in self.slot_list if slot.seed is not None]

    @property
    def seed_parameter_count(self) -> int:
        """Trainable parameters of all seeds that are planted."""
        return sum(seed.parameter_count for seed in self.seeds)

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
