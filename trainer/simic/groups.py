"""A/B runs: several arms that differ in their reward alone, trained in turn, a round each.

In turn and not one after the other: both arms then use the same machine at the same time of day, their curves
overlap on every dashboard, and a run that is stopped early still compares both. Both begin with
the same policy, hosts and data, because both follow from one seed. Each arm's events carry its group; what concerns the
process (its end, heartbeats) belongs to none.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trainer.distributed.peers import Peers
from trainer.recipes import Recipe
from trainer.simic.archive import load_arm
from trainer.simic.chaos import Chaos
from trainer.simic.checkpoint import Checkpoint, Keeper, check_fits
from trainer.simic.loop import Training
from trainer.simic.observer import Observer, RoundEnd


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm. ``group_id`` is None in a run without groups."""

    group_id: str | None
    recipe: Recipe


def arms_of(recipe: Recipe, reward_modes: Sequence[str]) -> tuple[Arm, ...]:
    """Arms A, B, … of ``recipe``, one for each reward mode; the recipe itself when there are no modes."""
    if not reward_modes:
        return (Arm(group_id=None, recipe=recipe),)
    return tuple(
        Arm(group_id=letter, recipe=replace(recipe, reward_mode=mode))
        for letter, mode in zip(string.ascii_uppercase, reward_modes, strict=False)
    )


class Arms:
    """All arms of a run in this process."""

    def __init__(self, arms: Sequence[Arm], observer_of: Callable[[str | None], Observer], peers: Peers) -> None:
        self.trainings: dict[str | None, Training] = {
            arm.group_id: Training(
                arm.recipe, observer_of(arm.group_id), peers=peers, script=Chaos(arm.recipe.interventions)
            )
            for arm in arms
        }

    @property
    def rounds_done(self) -> int:
        """Number of rounds that every arm has done."""
        return min(training.rounds_done for training in self.trainings.values())

    def begin(self, checkpoint: Checkpoint | None = None) -> None:
        """Announce every arm, from ``checkpoint`` if there is one.

        Raises:
            CheckpointError: the run cannot resume from it.
        """
        if checkpoint is not None:
            some = next(iter(self.trainings.values()))
            check_fits(checkpoint, some.peers.world_size, [training.recipe for training in self.trainings.values()])
        for group_id, training in self.trainings.items():
            file = None
            if checkpoint is not None:
                file = load_arm(checkpoint.file(group_id, training.peers.rank), training)
            training.begin(file)

    def run(self, after_round: Callable[[str | None, RoundEnd], None], keeper: Keeper | None = None) -> None:
        """Train all arms to their end, a round of each in turn.

        Raises:
            CheckpointError: a checkpoint cannot be written.
        """
        while not all(training.is_done for training in self.trainings.values()):
            for group_id, training in self.trainings.items():
                after_round(group_id, training.advance())
            if keeper is not None and keeper.is_due(next(iter(self.trainings.values()))):
                keeper.save(self.trainings)
