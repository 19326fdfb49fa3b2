"""``python -m trainer``: run a recipe, with telemetry by default."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import torch
from rich.console import Console

from esper_otel import configure, shutdown
from trainer.distributed.peers import PeerLostError, Peers
from trainer.distributed.process_group import joined
from trainer.options import Options, parse
from trainer.progress import shown, summary
from trainer.simic.archive import CheckpointError
from trainer.simic.emission import Emitter
from trainer.simic.groups import Arms
from trainer.simic.loop import Training
from trainer.simic.observer import Observer, Silent
from trainer.tolaria.weights import digest, save_npz

ANNOUNCEMENT_S: Final = 2.0
"""Longest wait for the relay's metrics address; training does not depend on it."""

INTERRUPTED: Final = 130
TERMINATED: Final = 143
"""Exit statuses after Ctrl-C and SIGTERM, as in shells."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was received: from torchrun when another rank failed, from Kubernetes, from a person."""


def main(arguments: list[str] | None = None) -> int:
    """Train and return the exit status."""
    job = Job(parse(arguments))
    torch.set_num_threads(job.options.recipe.threads)
    try:
        with _sigterm_raises():
            return job.train() if job.options.telemetry_dir is None else _watched(job, job.options.telemetry_dir)
    except Terminated:
        print("stopped by SIGTERM", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (CheckpointError, PeerLostError) as error:
        print(error, file=sys.stderr)
        return 1


class Job:
    """Work of one process: it trains its share of every arm. Only rank 0 prints to standard output."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.console = Console(
            soft_wrap=True, highlight=False, force_terminal=options.progress or None, quiet=options.rank != 0
        )
        self.arms: Arms | None = None

    @property
    def rounds_done(self) -> int | None:
        """Rounds done, those before a resume included; None before training began."""
        return None if self.arms is None else self.arms.rounds_done

    def train(self, observer_of: Callable[[str | None], Observer] = lambda group_id: Silent()) -> int:
        """Train all arms, print the result and return the exit status."""
        with joined(torch.device(self.options.recipe.device)) as peers:
            self._train(observer_of, peers)
            return self._conclude() if peers.rank == 0 else 0

    def _train(self, observer_of: Callable[[str | None], Observer], peers: Peers) -> None:
        options = self.options
        self.arms = Arms(options.arms, observer_of, peers)
        self.arms.begin(options.resume)
        left = (options.recipe.rounds - self.arms.rounds_done) * len(options.arms)
        enabled = self.console.is_terminal if options.progress is None else options.progress
        with shown(self.console, left, enabled and peers.rank == 0) as advance:
            self.arms.run(advance, options.keeper)

    def _conclude(self) -> int:
        assert self.arms is not None
        weights: dict[str, torch.Tensor] = {}
        for group_id, training in self.arms.trainings.items():
            self.console.print(summary(training.history, group_id))
            prefix = "" if group_id is None else f"{group_id}."
            weights |= {prefix + name: value for name, value in final_weights(training).items()}
        if self.options.final_weights is not None:
            try:
                save_npz(self.options.final_weights, weights)
            except OSError as error:
                print(f"--final-weights {self.options.final_weights}: {error.strerror}", file=sys.stderr)
                return 1
        self.console.print(f"weights sha256: {digest(weights)}")
        return 0


def _watched(job: Job, folder: Path) -> int:
    try:
        telemetry = configure(telemetry_dir=folder)
    except (RuntimeError, ValueError, OSError) as error:
        print(f"telemetry cannot start: {error}", file=sys.stderr)
        return 2
    job.console.print(f"run {telemetry.run_id}: {telemetry.run_dir}")
    try:
        if telemetry.relay_pid is not None and job.options.rank == 0:
            _say_where(job.console, Path(telemetry.run_dir))
        status = job.train(Emitter)
    except KeyboardInterrupt as stop:
        detail = "stopped by SIGTERM" if isinstance(stop, Terminated) else "stopped by the user"
        shutdown("interrupted", detail, rounds=job.rounds_done)
        raise
    except BaseException as error:
        shutdown("failed", f"{type(error).__name__}: {error}", rounds=job.rounds_done)
        raise
    shutdown("finished", f"{job.options.recipe.rounds} rounds", rounds=job.rounds_done)
    return status


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Context in which SIGTERM ends the run like Ctrl-C, so that the log records its end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def final_weights(training: Training) -> dict[str, torch.Tensor]:
    """Weights of the policy and of every host of this process, by name."""
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
