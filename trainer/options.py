"""The command line of ``python -m trainer``: a recipe and the few numbers of it that can be replaced."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trainer.recipes import RECIPES, Recipe
from trainer.simic.rewards import REWARD_MODES


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run and where to put what comes of it. ``telemetry_dir`` is None when telemetry is off."""

    recipe: Recipe
    telemetry_dir: Path | None
    final_weights: Path | None
    progress: bool | None


def parse(arguments: list[str] | None = None) -> Options:
    """Options from the command line; wrong ones end the process with status 2 and one message."""
    parser = _parser()
    given = parser.parse_args(arguments)
    recipe = RECIPES[given.recipe]
    device = given.device or recipe.device
    _check_device(parser, device)
    host = replace(recipe.environment.host, amp=given.amp, compile=given.compile)
    environment = replace(
        recipe.environment, host=host, episode_length=given.episode_length or recipe.environment.episode_length
    )
    return Options(
        recipe=replace(
            recipe,
            rounds=given.rounds or recipe.rounds,
            envs=given.envs or recipe.envs,
            seed=recipe.seed if given.seed is None else given.seed,
            reward_mode=given.reward_mode or recipe.reward_mode,
            device=device,
            environment=environment,
        ),
        telemetry_dir=None if given.no_telemetry else given.telemetry_dir,
        final_weights=given.final_weights,
        progress=given.progress,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Train a policy that grows modules inside a small network on handwritten digits.",
    )
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="demo", help="named run (default: %(default)s)")
    parser.add_argument("--rounds", type=_positive, help="rounds of episodes and policy updates")
    parser.add_argument("--envs", type=_positive, help="environments side by side")
    parser.add_argument("--episode-length", type=_positive, help="host epochs in an episode")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--seed", type=_seed, help="random seed, 0 or more")
    parser.add_argument("--reward-mode", choices=REWARD_MODES, help="reward variant")
    parser.add_argument("--amp", action="store_true", help="mixed precision for the hosts")
    parser.add_argument("--compile", action="store_true", help="compile the hosts' blocks with torch.compile")
    parser.add_argument("--telemetry-dir", type=Path, default=Path("telemetry"), help="where runs are written")
    parser.add_argument("--no-telemetry", action="store_true", help="train the same without telemetry")
    parser.add_argument("--final-weights", type=Path, help="write the final weights to this .npz file")
    parser.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, help="progress bar (default: on a terminal)"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _check_device(parser: argparse.ArgumentParser, name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError:
        parser.error(f"argument --device: {name!r} is not a device; give cpu, cuda or cuda:<number>")
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"argument --device: {name} is not here (torch sees no GPU); give --device cpu")
