"""Faults requested by a recipe, as data; :mod:`trainer.simic.chaos` implements them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal[
    "stuck_policy",
    "memory_leak",
    "poisoned_reward",
    "offset_rewards",
    "stale_log_probs",
    "nan_weights",
    "wiped_head",
    "hostage",
]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""Every fault, by name."""


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """One fault.

    Attributes:
        kind: the fault, one of :data:`KINDS`.
        rounds: rounds in which it happens, from 1.
        epoch: epoch within the episode at which a weight turns NaN, from 1; the other kinds have their own time.
        strength: size of the fault in the unit of its kind.
        margin: percentage points that a hostage's host gains (or, if negative, loses) after germination.
        env_id: environment whose host is hit; None hits all of them.
    """

    kind: Kind
    rounds: tuple[int, ...]
    epoch: int = 0
    strength: float = 1.0
    margin: float = 0.0
    env_id: int | None = None

    def __post_init__(self) -> None:
        """Reject an unknown kind."""
        if self.kind not in KINDS:
            raise ValueError(f"intervention {self.kind!r} is not one of {', '.join(KINDS)}")
