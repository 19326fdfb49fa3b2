"""One update whose numbers are still on their device, and the event that it becomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from esper_otel.events import TrainingUpdate
from esper_otel.sensors.updating.late import Number
from esper_otel.sensors.updating.recent import RecentNorm


class Names(msgspec.Struct, frozen=True):
    """Names of a model and of one of its optimizers, as metrics carry them."""

    model: str
    optimizer: str


class Update(msgspec.Struct):
    """One update whose numbers are still on their device.

    Attributes:
        names: of what was updated.
        number: number of the update of this optimizer, from 1.
        time_ns: Unix time of its end.
        loss, lr, pre, post, found_inf: scalars; norms in parts that are added as squares.
        limit: clipping limit, where nobody changed the gradients after the clip.
        scale: scale that ``pre`` and ``post`` are multiplied by.
        has_own_pre: ``pre`` was measured before clipping; otherwise nobody clipped.
    """

    names: Names
    number: int = 0
    time_ns: int = 0
    loss: tuple[Number, ...] = ()
    lr: tuple[Number, ...] = ()
    pre: tuple[Number, ...] = ()
    pre_scale: tuple[Number, ...] = ()
    post: tuple[Number, ...] = ()
    scale: tuple[Number, ...] = ()
    found_inf: tuple[Number, ...] = ()
    limit: float | None = None
    has_own_pre: bool = False

    def numbers(self) -> list[Number]:
        """All scalars, in the order of :data:`PARTS`."""
        return [number for part in PARTS for number in getattr(self, part)]

    def with_numbers(self, numbers: Sequence[float]) -> dict[str, list[float]]:
        """The scalars by part."""
        found, start = {}, 0
        for part in PARTS:
            end = start + len(getattr(self, part))
            found[part] = list(numbers[start:end])
            start = end
        return found


PARTS: Final = ("loss", "lr", "pre", "pre_scale", "post", "scale", "found_inf")


def event_of(update: Update, numbers: list[float], recent: RecentNorm) -> TrainingUpdate | None:
    """The event; None for an update that the optimizer skipped itself. ``recent``: norms of the updates before it."""
    found = update.with_numbers(numbers)
    if any(found["found_inf"]):
        return None
    scale = math.prod(found["scale"]) or 1.0
    post = math.hypot(*found["post"]) / scale if found["post"] else None
    pre = math.hypot(*found["pre"]) / (math.prod(found["pre_scale"]) or 1.0) if update.has_own_pre else post
    if post is None and pre is not None and update.limit is not None:
        post = pre * min(1.0, update.limit / (pre + 1e-6))
    return TrainingUpdate(
        model=update.names.model,
        optimizer=update.names.optimizer,
        update=update.number,
        loss=found["loss"][0] if found["loss"] else None,
        lr=found["lr"][0] if found["lr"] else None,
        pre_clip_grad_norm=pre,
        grad_norm_excess=recent.excess(pre),
        grad_norm=post,
    )
