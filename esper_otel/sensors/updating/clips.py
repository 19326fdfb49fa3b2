"""One call of a clipping function, as it is remembered until the optimizer steps."""

from __future__ import annotations

import itertools
from collections.abc import Reversible, Sequence

import msgspec
import torch

from esper_otel.sensors.updating.late import Number


class Clip(msgspec.Struct):
    """One call of a clipping function.

    Attributes:
        number: position among all calls, from 1.
        backward: backward passes before it.
        parameters: ids of the parameters with a gradient.
        norms: the norm before clipping, in parts to be added as squares; empty when no rank knows it alone.
        scale: loss scale by which the gradients were multiplied.
        limit: L2 norm beyond which it clipped; None where it clips otherwise.
        left: the gradients as it left them, by id of the parameter: id and version, which every write in place changes.
    """

    number: int
    backward: int
    parameters: frozenset[int]
    norms: tuple[Number, ...]
    scale: Number | None
    limit: float | None
    left: dict[int, tuple[int, int]] = {}

    def is_last(self, parameters: Sequence[torch.Tensor]) -> bool:
        """Return True if nobody wrote to the gradients of ``parameters`` since."""
        left = self.left
        return bool(left) and all(left.get(id(p)) == (id(p.grad), _version(p)) for p in parameters)


def _version(parameter: torch.Tensor) -> int:
    return -1 if parameter.grad is None else parameter.grad._version


def seal(clip: Clip, parameters: list[torch.Tensor]) -> None:
    """Note the gradients that the clip left, unless a scale is still to be divided out."""
    if clip.limit is not None and clip.scale is None:
        clip.left = {id(p): (id(p.grad), p.grad._version) for p in parameters if p.grad is not None}


def clips_of(clips: Reversible[Clip], parameters: list[torch.Tensor], seen: int) -> list[Clip]:
    """Clips of these parameters since the last update, the first of each gradient; none of an update that was left out.

    A gradient is newer than a clip before the last backward pass that was clipped.
    """
    new = list(itertools.takewhile(lambda clip: clip.number > seen, reversed(clips)))
    if not new:
        return []
    ids = {id(p) for p in parameters}
    own = [clip for clip in reversed(new) if not ids.isdisjoint(clip.parameters)]
    if not own:
        return []
    newest = max(clip.backward for clip in own)
    covered: set[int] = set()
    found = []
    for clip in own:
        if clip.backward == newest and covered.isdisjoint(clip.parameters):
            covered |= clip.parameters
            found.append(clip)
    return found
