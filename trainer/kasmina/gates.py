"""Gates: pure judgements of whether a seed may enter its next stage. Nothing here changes anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trainer.kasmina.stages import Stage

MIN_TRAINING_EPOCHS: Final = 2
"""A seed's last layer starts at zero: in the first epoch only that layer has a significant gradient."""

MIN_HOLDING_EPOCHS: Final = 1
"""One whole epoch at the final blend weight, so that the contribution was measured at it."""

MIN_CONTRIBUTION: Final = 0.5
"""Percentage points a seed must add to become permanent: one validation image in 300 is 0.33."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Evidence for a gate. None means not measured, and no check passes on it.

    Attributes:
        stage: stage that the slot is in.
        is_host_stable: the host has stabilised.
        is_within_budget: the seed's parameters fit into what is left of the budget.
        epochs_in_stage: whole epochs since the stage was entered.
        seed_params: trainable parameters of the seed.
        grad_norm: L2 norm of the seed's gradient at its last step.
        val_loss: validation loss in nats.
        alpha: blend weight now, in [0, 1].
        alpha_target: blend weight that the ramp ends at.
        contribution: validation accuracy with the seed minus without it, percentage points.
    """

    stage: Stage
    is_host_stable: bool = False
    is_within_budget: bool = False
    epochs_in_stage: int = 0
    seed_params: int = 0
    grad_norm: float | None = None
    val_loss: float | None = None
    alpha: float = 0.0
    alpha_target: float = 0.0
    contribution: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Outcome of a gate: the names of the passed and failed checks."""

    gate: str
    target_stage: Stage
    checks_passed: tuple[str, ...]
    checks_failed: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return not self.checks_failed


Check = tuple[str, Callable[[Evidence], bool]]


def _has_gradient(e: Evidence) -> bool:
    return e.seed_params == 0 or (e.grad_norm is not None and math.isfinite(e.grad_norm) and e.grad_norm > 0.0)


def _loss_is_finite(e: Evidence) -> bool:
    return e.val_loss is not None and math.isfinite(e.val_loss)


_GATES: Final[dict[str, tuple[Stage, tuple[Check, ...]]]] = {
    "G0": (
        Stage.GERMINATED,
        (
            ("slot_is_dormant", lambda e: e.stage is Stage.DORMANT),
            ("host_is_stable", lambda e: e.is_host_stable),
            ("within_budget", lambda e: e.is_within_budget),
        ),
    ),
    "G1": (Stage.TRAINING, (("is_germinated", lambda e: e.stage is Stage.GERMINATED),)),
    "G2": (
        Stage.BLENDING,
        (
            ("is_training", lambda e: e.stage is Stage.TRAINING),
            ("trained_long_enough", lambda e: e.epochs_in_stage >= MIN_TRAINING_EPOCHS),
            ("seed_has_gradient", _has_gradient),
            ("val_loss_is_finite", _loss_is_finite),
        ),
    ),
    "G3": (
        Stage.HOLDING,
        (
            ("is_blending", lambda e: e.stage is Stage.BLENDING),
            ("alpha_reached_target", lambda e: e.alpha_target > 0.0 and e.alpha >= e.alpha_target),
            ("val_loss_is_finite", _loss_is_finite),
        ),
    ),
    "G5": (
        Stage.FOSSILIZED,
        (
            ("is_holding", lambda e: e.stage is Stage.HOLDING),
            ("held_long_enough", lambda e: e.epochs_in_stage >= MIN_HOLDING_EPOCHS),
            ("contributes", lambda e: e.contribution is not None and e.contribution >= MIN_CONTRIBUTION),
        ),
    ),
}

GATES: Final = tuple(_GATES)
"""Names of the gates in the order of a seed's life."""


def judge(gate: str, evidence: Evidence) -> Verdict:
    """Judge ``evidence`` at ``gate``, one of :data:`GATES`.

    Raises:
        KeyError: there is no such gate.
    """
    target, checks = _GATES[gate]
    held = {name: bool(check(evidence)) for name, check in checks}
    return Verdict(
        gate=gate,
        target_stage=target,
        checks_passed=tuple(name for name, ok in held.items() if ok),
        checks_failed=tuple(name for name, ok in held.items() if not ok),
    )
