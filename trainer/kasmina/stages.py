"""Stages of a seed's life and the legal transitions between them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    """Stage of a slot's seed. A slot without a seed is DORMANT."""

    DORMANT = "DORMANT"
    GERMINATED = "GERMINATED"
    TRAINING = "TRAINING"
    BLENDING = "BLENDING"
    HOLDING = "HOLDING"
    FOSSILIZED = "FOSSILIZED"
    PRUNED = "PRUNED"
    EMBARGOED = "EMBARGOED"
    RESETTING = "RESETTING"


TRANSITIONS: Final[dict[Stage, frozenset[Stage]]] = {
    Stage.DORMANT: frozenset({Stage.GERMINATED}),
    Stage.GERMINATED: frozenset({Stage.TRAINING, Stage.PRUNED}),
    Stage.TRAINING: frozenset({Stage.BLENDING, Stage.PRUNED}),
    Stage.BLENDING: frozenset({Stage.HOLDING, Stage.PRUNED}),
    Stage.HOLDING: frozenset({Stage.FOSSILIZED, Stage.BLENDING, Stage.PRUNED}),
    Stage.FOSSILIZED: frozenset(),
    Stage.PRUNED: frozenset({Stage.EMBARGOED}),
    Stage.EMBARGOED: frozenset({Stage.RESETTING}),
    Stage.RESETTING: frozenset({Stage.DORMANT}),
}

BLENDED: Final = frozenset({Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED})
"""Stages in which the seed changes the host's output."""

GROWING: Final = frozenset({Stage.GERMINATED, Stage.TRAINING, Stage.BLENDING, Stage.HOLDING})
"""Stages of a seed that is alive and not yet permanent."""

TRAINABLE: Final = frozenset({Stage.TRAINING, Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED})
"""Stages in which the seed's parameters learn."""


class IllegalTransitionError(ValueError):
    """A stage change outside the life cycle."""


def check_transition(current: Stage, target: Stage) -> None:
    """Reject a stage change that is not in :data:`TRANSITIONS`.

    Raises:
        IllegalTransitionError: naming both stages and the legal targets.
    """
    if target not in TRANSITIONS[current]:
        legal = ", ".join(sorted(TRANSITIONS[current])) or "none: it is final"
        raise IllegalTransitionError(f"a seed cannot go from {current} to {target}; legal targets: {legal}")
