"""The factored action: eight heads, their choices, and the heads that matter for each operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from trainer.kasmina.alpha import AlphaCurve, AlphaSpeed, AlphaTarget, Style, Tempo
from trainer.kasmina.blueprints import BLUEPRINTS


class Op(IntEnum):
    """Life-cycle operation."""

    WAIT = 0
    GERMINATE = 1
    SET_ALPHA_TARGET = 2
    PRUNE = 3
    FOSSILIZE = 4
    ADVANCE = 5


HEADS: Final = ("op", "slot", "blueprint", "style", "tempo", "alpha_target", "alpha_speed", "alpha_curve")
"""The action heads; ``op`` is drawn first, ``slot`` given ``op``, the others given both."""

ARGUMENTS: Final = HEADS[1:]

CAUSAL: Final[dict[Op, frozenset[str]]] = {
    Op.WAIT: frozenset({"op"}),
    Op.GERMINATE: frozenset({"op", "slot", "blueprint", "style", "tempo", "alpha_target"}),
    Op.SET_ALPHA_TARGET: frozenset({"op", "slot", "alpha_target", "alpha_speed", "alpha_curve"}),
    Op.PRUNE: frozenset({"op", "slot", "alpha_speed", "alpha_curve"}),
    Op.FOSSILIZE: frozenset({"op", "slot"}),
    Op.ADVANCE: frozenset({"op", "slot"}),
}
"""Heads that have an effect under each operation. The others are drawn but neither rewarded nor blamed."""

STYLES: Final = tuple(Style)
TEMPOS: Final = tuple(Tempo)
ALPHA_TARGETS: Final = tuple(AlphaTarget)
ALPHA_SPEEDS: Final = tuple(AlphaSpeed)
ALPHA_CURVES: Final = tuple(AlphaCurve)
BLUEPRINT_IDS: Final = tuple(BLUEPRINTS)


def choices(slot_ids: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Names of the choices of each head, in the order of its logits."""
    return {
        "op": tuple(op.name for op in Op),
        "slot": slot_ids,
        "blueprint": BLUEPRINT_IDS,
        "style": tuple(style.name for style in STYLES),
        "tempo": tuple(tempo.name for tempo in TEMPOS),
        "alpha_target": tuple(target.name for target in ALPHA_TARGETS),
        "alpha_speed": tuple(speed.name for speed in ALPHA_SPEEDS),
        "alpha_curve": tuple(curve.name for curve in ALPHA_CURVES),
    }


@dataclass(frozen=True, kw_only=True)
class Action:
    """One choice per head, by index."""

    op: Op
    slot: int = 0
    blueprint: int = 0
    style: int = 0
    tempo: int = 0
    alpha_target: int = 0
    alpha_speed: int = 0
    alpha_curve: int = 0

    @classmethod
    def from_indices(cls, indices: Mapping[str, int]) -> Action:
        """The action of one index per head."""
        return cls(op=Op(indices["op"]), **{head: indices[head] for head in ARGUMENTS})

    def index(self, head: str) -> int:
        """Choice of ``head``."""
        return int(getattr(self, head))

    def matters(self, head: str) -> bool:
        """Return True if ``head`` has an effect under this operation."""
        return head in CAUSAL[self.op]
