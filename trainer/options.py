"""The command line of ``python -m trainer``: a recipe and overrides of some of its numbers."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from trainer.recipes import RECIPES, Recipe
from trainer.simic.archive import CheckpointError
from trainer.simic.checkpoint import Checkpoint, Keeper, find
from trainer.simic.groups import Arm, arms_of
from trainer.simic.rewards import REWARD_MODES
from trainer.tiers import LEVELS

DEFAULT_RECIPE: Final = "demo"
SAVE_EVERY: Final = 5
"""Rounds between two checkpoints: a dozen seconds of the demo, well above the few ms that one costs."""

FIXED_BY_CHECKPOINT: Final = ("recipe", "envs", "episode_length", "seed", "reward_mode", "ab", "amp", "compile")
"""Options that would make a resumed run another run."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Recipe, output paths and process of a run.

    Attributes:
        arms: what to train: one recipe, or the arms of an A/B run.
        telemetry_dir: directory of runs; None when telemetry is off.
        final_weights: archive to write the final weights to.
        progress: whether to show a progress bar; None decides by the terminal.
        keeper: writes checkpoints; None when none are asked for.
        resume: checkpoint to resume from.
        rank: this process, as torchrun numbers it; 0 without it.
    """

    arms: tuple[Arm, ...]
    telemetry_dir: Path | None
    final_weights: Path | None
    progress: bool | None
    keeper: Keeper | None
    resume: Checkpoint | None
    rank: int

    @property
    def recipe(self) -> Recipe:
        """Recipe of the first arm; the others differ from it in their reward mode alone."""
        return self.arms[0].recipe


def parse(arguments: list[str] | None = None) -> Options:
    """Options from the command line; wrong ones end the process with status 2 and one message."""
    parser = _parser()
    given = parser.parse_args(arguments)
    resume = _checkpoint(parser, given)
    arms = _fresh_arms(given) if resume is None else _resumed_arms(resume)
    arms = tuple(replace(arm, recipe=_adjusted(parser, arm.recipe, given)) for arm in arms)
    _check_shares(parser, arms[0].recipe)
    if given.save_every is not None and given.checkpoint is None:
        parser.error("argument --save-every: needs --checkpoint DIR")
    return Options(
        arms=arms,
        telemetry_dir=None if given.no_telemetry else given.telemetry_dir,
        final_weights=given.final_weights,
        progress=given.progress,
        keeper=None if given.checkpoint is None else Keeper(given.checkpoint, given.save_every or SAVE_EVERY),
        resume=resume,
        rank=_variable("RANK", 0),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train a policy that grows modules inside a small network on handwritten digits.",
        epilog="Several processes: torchrun --nproc-per-node N -m trainer …; the environments are shared among them.",
    )
    parser.add_argument("--recipe", choices=sorted(RECIPES), help=f"named run (default: {DEFAULT_RECIPE})")
    parser.add_argument("--rounds", type=_positive, help="rounds of episodes and policy updates")
    parser.add_argument("--envs", type=_positive, help="environments side by side, over all processes")
    parser.add_argument("--episode-length", type=_positive, help="host epochs in an episode")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--threads", type=_positive, help="threads of torch on the CPU")
    parser.add_argument("--seed", type=_seed, help="random seed, 0 or more")
    parser.add_argument("--reward-mode", choices=REWARD_MODES, help="reward variant")
    parser.add_argument("--ab", type=_reward_modes, metavar="MODE,MODE", help="train reward variants as groups A and B")
    parser.add_argument("--amp", action="store_true", default=None, help="mixed precision for the hosts")
    parser.add_argument("--compile", action="store_true", default=None, help="compile the hosts' blocks")
    parser.add_argument("--diagnostics", choices=LEVELS, help="level of diagnostics")
    parser.add_argument(
        "--diagnostics-every", type=_positive, metavar="N", help="rounds between two rounds with full diagnostics"
    )
    _add_files(parser)
    parser.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, help="progress bar (default: on a terminal)"
    )
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--telemetry-dir", type=Path, default=Path("telemetry"), help="directory of runs")
    parser.add_argument("--no-telemetry", action="store_true", help="train without telemetry")
    parser.add_argument("--final-weights", type=Path, help="write the final weights to this .npz file")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="write checkpoints below this directory")
    parser.add_argument(
        "--save-every", type=_positive, metavar="N", help=f"rounds between checkpoints (default: {SAVE_EVERY})"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="PATH", help="resume from a checkpoint, or the newest one in PATH"
    )


def _checkpoint(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Checkpoint | None:
    if given.resume is None:
        if given.ab is not None and given.reward_mode is not None:
            parser.error("argument --ab: not allowed with argument --reward-mode")
        return None
    for name in FIXED_BY_CHECKPOINT:
        if getattr(given, name) is not None:
            parser.error(f"argument --{name.replace('_', '-')}: a resumed run keeps what its checkpoint says")
    try:
        return find(given.resume)
    except CheckpointError as error:
        parser.error(f"argument --resume: {error}")


def _fresh_arms(given: argparse.Namespace) -> tuple[Arm, ...]:
    return arms_of(RECIPES[given.recipe or DEFAULT_RECIPE], given.ab or ())


def _resumed_arms(resume: Checkpoint) -> tuple[Arm, ...]:
    return tuple(Arm(group_id=entry.group_id, recipe=entry.recipe) for entry in resume.index.arms)


def _adjusted(parser: argparse.ArgumentParser, recipe: Recipe, given: argparse.Namespace) -> Recipe:
    environment = recipe.environment
    host = replace(
        environment.host, amp=given.amp or environment.host.amp, compile=given.compile or environment.host.compile
    )
    return replace(
        recipe,
        rounds=given.rounds or recipe.rounds,
        envs=given.envs or recipe.envs,
        threads=given.threads or recipe.threads,
        seed=recipe.seed if given.seed is None else given.seed,
        reward_mode=given.reward_mode or recipe.reward_mode,
        diagnostics=given.diagnostics or recipe.diagnostics,
        diagnostics_every=given.diagnostics_every or recipe.diagnostics_every,
        device=_own_device(parser, given.device or recipe.device),
        environment=replace(environment, host=host, episode_length=given.episode_length or environment.episode_length),
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _reward_modes(text: str) -> tuple[str, ...]:
    modes = tuple(text.split(","))
    if len(modes) < 2 or len(set(modes)) < len(modes) or not set(modes) <= set(REWARD_MODES):
        raise argparse.ArgumentTypeError(
            f"{text!r} does not name two or more different modes out of {', '.join(REWARD_MODES)}"
        )
    return modes


def _own_device(parser: argparse.ArgumentParser, name: str) -> str:
    """The device of this process: of several on one machine each takes the GPU of its local rank."""
    try:
        device = torch.device(name)
    except RuntimeError:
        parser.error(f"argument --device: {name!r} is not a device; give cpu, cuda or cuda:<number>")
    if device.type != "cuda":
        return name
    count = torch.cuda.device_count()
    if _variable("WORLD_SIZE", 1) > 1:
        name = f"cuda:{_variable('LOCAL_RANK', 0)}"
    if (torch.device(name).index or 0) >= count:
        parser.error(f"argument --device: {name} does not exist (torch finds {count} GPUs); give --device cpu")
    return name


def _check_shares(parser: argparse.ArgumentParser, recipe: Recipe) -> None:
    world_size = _variable("WORLD_SIZE", 1)
    if recipe.envs % world_size:
        parser.error(f"argument --envs: {recipe.envs} cannot be shared evenly by {world_size} processes")


def _variable(name: str, default: int) -> int:
    """A number that torchrun sets."""
    return int(os.environ.get(name) or default)
