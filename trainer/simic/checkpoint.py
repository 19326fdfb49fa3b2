"""Checkpoints: the state of a run between two rounds, in plain arrays and JSON, never pickled.

A checkpoint is a directory. ``checkpoint.json`` describes the training and is written last, so that a directory with
it is whole; beside it lies one NumPy archive for every rank and arm: policy, optimiser, random streams and a few
numbers. Hosts are not in it: they are built anew for every episode, from the seed. A run that goes on from a checkpoint
takes the same steps as one that was never interrupted, on the CPU to the last bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from trainer.recipes import Recipe
from trainer.simic.archive import CheckpointError, save_arm

if TYPE_CHECKING:
    from trainer.simic.loop import Training

INDEX: Final = "checkpoint.json"
FORMAT: Final = 1


class ArmEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of the run: its A/B group, None in a run without groups, and what it trains."""

    group_id: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")] | None  # a part of file names
    recipe: Recipe


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``checkpoint.json``: rounds done, ranks, arms."""

    format: int
    rounds_done: int
    world_size: int
    arms: tuple[ArmEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint found complete."""

    folder: Path
    index: Index

    def file(self, group_id: str | None, rank: int) -> Path:
        """The archive of one arm and rank."""
        return archive_path(self.folder, group_id, rank)


def archive_path(folder: Path, group_id: str | None, rank: int) -> Path:
    """Path of one arm of one rank within a checkpoint."""
    return folder / ".".join([f"rank{rank}", *([group_id] if group_id else []), "npz"])


def find(path: Path) -> Checkpoint:
    """The checkpoint at ``path``, or the newest of those in the directory ``path``.

    Raises:
        CheckpointError: there is none, or its index cannot be read.
    """
    folder = path
    if not (path / INDEX).is_file():
        whole = sorted(index.parent for index in path.glob(f"round-*/{INDEX}"))
        if not whole:
            raise CheckpointError(f"{path} is not a checkpoint and contains none (a checkpoint has a {INDEX})")
        folder = whole[-1]
    try:
        index = msgspec.json.decode((folder / INDEX).read_bytes(), type=Index)
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{folder / INDEX}: {error}") from error
    if index.format != FORMAT:
        raise CheckpointError(f"{folder / INDEX}: format {index.format} is not {FORMAT}, the supported one")
    return Checkpoint(folder=folder, index=index)


def save_index(folder: Path, trainings: Mapping[str | None, Training]) -> None:
    """Write the index, which makes the checkpoint whole; one rank does, after all have written their archives.

    Raises:
        OSError: it cannot be written.
    """
    some = next(iter(trainings.values()))
    content = {
        "format": FORMAT,
        "rounds_done": some.rounds_done,
        "world_size": some.peers.world_size,
        "arms": [{"group_id": group_id, "recipe": asdict(training.recipe)} for group_id, training in trainings.items()],
    }
    draft = folder / f".{INDEX}.{os.getpid()}.new"
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / INDEX)


class Keeper:
    """Saves a run every few rounds and at its end, below ``folder``."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder
        self.every = every

    def is_due(self, training: Training) -> bool:
        """Return True if a checkpoint is due after the rounds that were done."""
        return training.rounds_done % self.every == 0 or training.is_done

    def save(self, trainings: Mapping[str | None, Training]) -> Path:
        """Write a checkpoint of all arms, notify their observers, and return its directory. All ranks must call it.

        Raises:
            CheckpointError: it cannot be written.
        """
        some = next(iter(trainings.values()))
        folder = self.folder.absolute() / f"round-{some.rounds_done:06d}"
        try:
            files = [
                (training, save_arm(archive_path(folder, group_id, training.peers.rank), training))
                for group_id, training in trainings.items()
            ]
            some.peers.mean(0.0)  # No rank is past this before all have written.
            if some.peers.rank == 0:
                save_index(folder, trainings)
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be written: {error}") from error
        for training, file in files:
            training.observer.checkpoint_saved(file)
        return folder


def check_fits(checkpoint: Checkpoint, world_size: int, recipes: Sequence[Recipe]) -> None:
    """Check that this run can resume from ``checkpoint``.

    Raises:
        CheckpointError: it cannot; the message says what to do.
    """
    index = checkpoint.index
    if index.world_size != world_size:
        raise CheckpointError(
            f"{checkpoint.folder} was written by {index.world_size} processes, this run has {world_size}: "
            f"start it with torchrun --nproc-per-node {index.world_size}"
        )
    if index.rounds_done >= recipes[0].rounds:
        raise CheckpointError(
            f"{checkpoint.folder} is the end of the run, round {index.rounds_done} of {recipes[0].rounds}: "
            "increase --rounds to continue"
        )
