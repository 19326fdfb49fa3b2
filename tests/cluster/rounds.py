"""A training program as telemetry sees it: some rounds of a second each, and an end of the asked kind.

``rounds.py DIRECTORY ROUNDS``; ENDS says how: orderly, ignores (SIGTERM), hungry (for memory, from half of the rounds
on). CHECKPOINT_S is what an orderly end takes.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import esper_otel
from esper_otel.events import BatchCompleted, EpisodeOutcome, EpochCompleted, PolicyUpdate, TrainingStarted

EPOCHS = 40
ROUND_S = 1.0
HUNGER_BYTES = 32 << 20


def main(directory: str, rounds: int) -> None:
    """Train, as far as the log can tell."""
    ends = os.environ.get("ENDS", "orderly")
    asked_to_end = []
    if ends == "ignores":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: asked_to_end.append(True))
    esper_otel.configure(telemetry_dir=directory)
    esper_otel.emit(TrainingStarted(task="test", n_envs=1))
    eaten = []
    for number in range(1, rounds + 1):
        train(number)
        print(f"round {number}", flush=True)
        if asked_to_end:
            time.sleep(float(os.environ.get("CHECKPOINT_S", "0")))
            esper_otel.shutdown("interrupted", rounds=number)
            sys.exit(128 + signal.SIGTERM)
        if ends == "hungry" and number > rounds / 2:
            eaten.append(b"x" * HUNGER_BYTES)
        time.sleep(ROUND_S)
    esper_otel.shutdown(rounds=rounds)


def train(number: int) -> None:
    """One round of a population of one."""
    for epoch in range(EPOCHS):
        esper_otel.emit(EpochCompleted(env_id=0, inner_epoch=epoch, val_accuracy=50.0 + number / 10))
    esper_otel.emit(EpisodeOutcome(env_id=0, episode_idx=number, final_accuracy=50.0, episode_reward=1.0))
    esper_otel.emit(PolicyUpdate(ppo_update_idx=number, batch=number, update_time_ms=20.0 + number, entropy=1.0))
    esper_otel.emit(
        BatchCompleted(batch_idx=number, episodes_completed=number, avg_accuracy=50.0, avg_reward=float(number))
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
