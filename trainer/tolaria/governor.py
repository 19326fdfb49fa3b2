"""The governor: keeps the last good state of a host and restores it when the host collapses."""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from trainer.kasmina.lifecycle import Lifecycle, SeedRecord
from trainer.kasmina.slot import Seed
from trainer.kasmina.stages import Stage
from trainer.tolaria.host import Host

CHANCE_LOSS: Final = math.log(10.0)
"""Cross-entropy of a guess over the ten classes."""

HISTORY: Final = 8
"""Good epochs remembered for the loss limit."""

DEVIATIONS: Final = 6.0
"""Standard deviations above the recent mean at which a loss counts as divergence."""

MIN_RISE: Final = 1.0
"""Nats a loss must rise above the recent mean besides: early in training the spread is tiny and noise is not panic."""

PANICS_FOR_DIVERGENCE: Final = 2
"""Epochs in a row above the limit: one bad epoch after a germination heals by itself."""


@dataclass(frozen=True, kw_only=True)
class Panic:
    """Reason for a rollback. ``reason`` is governor_nan, governor_lobotomy or governor_divergence; losses in nats."""

    reason: str
    loss: float
    loss_threshold: float | None
    consecutive: int


@dataclass(kw_only=True)
class _SlotState:
    stage: Stage
    alpha: float
    seed: Seed | None
    record: SeedRecord | None
    embargo_left: int


@dataclass(kw_only=True)
class Snapshot:
    """A host's weights and slots at the end of one epoch; a copy that later training does not touch."""

    weights: dict[str, torch.Tensor]
    slots: dict[str, _SlotState]


def take_snapshot(host: Host, lives: dict[str, Lifecycle]) -> Snapshot:
    """Copy the host's weights, its seeds and their stages."""
    return Snapshot(
        weights={name: tensor.detach().clone() for name, tensor in host.state_dict().items()},
        slots={
            slot_id: _SlotState(
                stage=life.slot.stage,
                alpha=life.slot.alpha,
                seed=copy.deepcopy(life.slot.seed),
                record=copy.deepcopy(life.record),
                embargo_left=life.embargo_left,
            )
            for slot_id, life in lives.items()
        },
    )


def restore(snapshot: Snapshot, host: Host, lives: dict[str, Lifecycle]) -> None:
    """Restore everything, bit for bit. The snapshot stays usable."""
    for slot_id, state in snapshot.slots.items():
        life = lives[slot_id]
        life.slot.seed = copy.deepcopy(state.seed)
        life.slot.stage = state.stage
        life.slot.alpha = state.alpha
        life.record = copy.deepcopy(state.record)
        life.embargo_left = state.embargo_left
    host.load_state_dict(snapshot.weights)


@dataclass(kw_only=True)
class Governor:
    """Judges one host after every epoch."""

    losses: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    consecutive: int = 0
    snapshot: Snapshot | None = None

    def judge(self, val_loss: float) -> Panic | None:
        """Panic if the validation loss in nats is not finite, back at chance, or far above the recent ones."""
        limit = self.loss_limit
        if not math.isfinite(val_loss):
            return Panic(reason="governor_nan", loss=val_loss, loss_threshold=limit, consecutive=0)
        if self._is_lobotomy(val_loss):
            return Panic(reason="governor_lobotomy", loss=val_loss, loss_threshold=limit, consecutive=self.consecutive)
        self.consecutive = self.consecutive + 1 if limit is not None and val_loss > limit else 0
        if self.consecutive >= PANICS_FOR_DIVERGENCE:
            return Panic(
                reason="governor_divergence", loss=val_loss, loss_threshold=limit, consecutive=self.consecutive
            )
        return None

    @property
    def loss_limit(self) -> float | None:
        """Loss in nats above which an epoch is suspicious; None until there are enough good epochs."""
        if len(self.losses) < HISTORY // 2:
            return None
        mean = sum(self.losses) / len(self.losses)
        spread = math.sqrt(sum((loss - mean) ** 2 for loss in self.losses) / len(self.losses))
        return mean + max(DEVIATIONS * spread, MIN_RISE)

    def accept(self, val_loss: float, host: Host, lives: dict[str, Lifecycle]) -> None:
        """Remember a good epoch; while losses are suspicious the older snapshot stays."""
        if self.consecutive == 0:
            self.losses.append(val_loss)
            self.snapshot = take_snapshot(host, lives)

    def _is_lobotomy(self, val_loss: float) -> bool:
        # A network that learned and now guesses again: its loss sits at ln(10), where divergence would rise beyond it.
        has_learned = len(self.losses) >= HISTORY // 2 and max(self.losses) < 0.6 * CHANCE_LOSS
        return has_learned and abs(val_loss - CHANCE_LOSS) < 0.05 * CHANCE_LOSS


def rollback(snapshot: Snapshot, host: Host, lives: dict[str, Lifecycle], reason: str) -> dict[str, Any]:
    """Restore ``snapshot`` and prune the seeds that were still growing: they are the suspects.

    Returns:
        ``pruned``: slots whose seed was removed.
    """
    restore(snapshot, host, lives)
    suspects = [
        life
        for life in lives.values()
        if life.stage in (Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.HOLDING)
    ]
    for life in suspects:
        life.remove(reason, "governor")
    return {"pruned": tuple(life.slot.slot_id for life in suspects)}
