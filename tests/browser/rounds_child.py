"""A training process of short rounds, each with a policy update and a seed: ``rounds_child.py DIRECTORY ROUNDS``."""

from __future__ import annotations

import sys
import time

import esper_otel
from esper_otel.events import (
    BatchCompleted,
    CounterfactualMatrix,
    Decision,
    EpisodeOutcome,
    EpochCompleted,
    GradientAnomaly,
    GraphBreak,
    MorphologyCausalLog,
    PolicyUpdate,
    RewardSummary,
    Rollback,
    SeedGateEvaluated,
    SeedGerminated,
    SeedPruned,
    TopologyManifest,
    TrainingStarted,
    XidError,
)

ROWS = (
    *(CounterfactualMatrix, Decision, GradientAnomaly, GraphBreak, MorphologyCausalLog),
    *(RewardSummary, Rollback, SeedGateEvaluated, TopologyManifest, XidError),
)
"""Events of the tables on the boards, beside those of every round."""

EPOCHS = 40
LAST = 5
"""Rounds at the end with the events of the tables, some of which fire alerts: the run is healthy when it is young."""

ROUND_S = 0.5


def main(directory: str, rounds: int) -> None:
    """Train, as far as the log can tell."""
    esper_otel.configure(telemetry_dir=directory)
    esper_otel.emit(TrainingStarted(task="test", n_envs=1))
    for number in range(1, rounds + 1):
        seed = {"slot_id": "r0c0", "seed_id": f"seed_{number}", "env_id": 0}
        esper_otel.emit(SeedGerminated(blueprint_id="conv", **seed))
        for epoch in range(EPOCHS):
            esper_otel.emit(EpochCompleted(env_id=0, inner_epoch=epoch, val_accuracy=50.0 + number / 10))
        esper_otel.emit(SeedPruned(blueprint_id="conv", reason="test", improvement=1.0, **seed))
        for kind in ROWS if number > rounds - LAST else ():
            esper_otel.emit(kind())
        esper_otel.emit(EpisodeOutcome(env_id=0, episode_idx=number, final_accuracy=50.0, episode_reward=1.0))
        esper_otel.emit(
            PolicyUpdate(
                ppo_update_idx=number, batch=number, update_time_ms=20.0 + number, pre_clip_grad_norm=1.0, entropy=1.0
            )
        )
        esper_otel.emit(
            BatchCompleted(batch_idx=number, episodes_completed=number, avg_accuracy=50.0, avg_reward=float(number))
        )
        time.sleep(ROUND_S)
    esper_otel.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
