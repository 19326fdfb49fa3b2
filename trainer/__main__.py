"""``python -m trainer``: run a recipe, with telemetry unless told otherwise."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Final

import torch
from rich.console import Console

from esper_otel import configure, shutdown
from trainer.options import Options, parse
from trainer.progress import shown, summary
from trainer.simic.emission import Emitter
from trainer.simic.loop import Training
from trainer.simic.observer import Observer, Silent
from trainer.tolaria.weights import digest, save_npz

ANNOUNCEMENT_S: Final = 2.0
"""Longest wait for the relay to say where it serves metrics; training does not depend on it."""

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(arguments: list[str] | None = None) -> int:
    """Train; returns the exit status."""
    options = parse(arguments)
    console = Console(soft_wrap=True, highlight=False, force_terminal=options.progress or None)
    torch.set_num_threads(options.recipe.threads)
    try:
        if options.telemetry_dir is None:
            return _train(options, console, Silent())
        return _train_watched(options, console, options.telemetry_dir)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _train_watched(options: Options, console: Console, folder: Path) -> int:
    try:
        telemetry = configure(telemetry_dir=folder)
    except (RuntimeError, ValueError, OSError) as error:
        print(f"telemetry cannot start: {error}", file=sys.stderr)
        return 2
    console.print(f"run {telemetry.run_id}: {telemetry.run_dir}")
    try:
        if telemetry.relay_pid is not None:
            _say_where(console, Path(telemetry.run_dir))
        status = _train(options, console, Emitter())
    except KeyboardInterrupt:
        shutdown("interrupted", "stopped by the user")
        raise
    except BaseException as error:
        shutdown("failed", f"{type(error).__name__}: {error}")
        raise
    shutdown("finished", f"{options.recipe.rounds} rounds")
    return status


def _train(options: Options, console: Console, observer: Observer) -> int:
    recipe = options.recipe
    training = Training(recipe, observer)
    enabled = console.is_terminal if options.progress is None else options.progress
    with shown(console, recipe.rounds, enabled) as advance:
        training.run(advance)
    console.print(summary(training.history))
    weights = final_weights(training)
    if options.final_weights is not None:
        try:
            save_npz(options.final_weights, weights)
        except OSError as error:
            print(f"--final-weights {options.final_weights}: {error.strerror}", file=sys.stderr)
            return 1
    console.print(f"weights sha256: {digest(weights)}")
    return 0


def final_weights(training: Training) -> dict[str, torch.Tensor]:
    """Weights of the policy and of every host, by name."""
    weights = {f"policy.{name}": value for name, value in training.policy.state_dict().items()}
    for env in training.envs:
        weights |= {f"host{env.env_id}.{name}": value for name, value in env.host.state_dict().items()}
    return weights


def _say_where(console: Console, run_dir: Path) -> None:
    deadline = time.monotonic() + ANNOUNCEMENT_S
    while time.monotonic() < deadline:
        url = _metrics_url(run_dir / "run.json")
        if url is not None:
            console.print(f"metrics: {url}")
            return
        time.sleep(0.05)
    console.print(f"metrics: not announced yet; see {run_dir / 'run.json'}")


def _metrics_url(manifest: Path) -> str | None:
    try:
        relay = json.loads(manifest.read_text()).get("relay") or {}
    except (OSError, ValueError):
        return None
    url = relay.get("prometheus_url")
    return url if isinstance(url, str) else None


if __name__ == "__main__":
    sys.exit(main())
