"""A training process for tests: emits what a run emits, at a pace, until told to stop or killed."""

import argparse
import signal
import time

import esper_otel
from esper_otel.events import (
    BatchCompleted,
    Decision,
    EpochCompleted,
    PolicyUpdate,
    SeedGerminated,
    SeedPruned,
    SeedStageChanged,
    TrainingStarted,
)

EPOCHS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--relay", action="store_true")
    parser.add_argument("--linger", type=float, default=0.0)
    parser.add_argument("--run-id", default="run")
    parser.add_argument("--goes-on-s", type=float, help="end so long after SIGTERM; negative: never")
    options = parser.parse_args()
    told = Told(options.goes_on_s) if options.goes_on_s is not None else None
    esper_otel.configure(
        telemetry_dir=options.directory,
        run_id=options.run_id,
        relay=options.relay,
        linger_s=options.linger,
        segment_bytes=200_000,
    )
    esper_otel.emit(TrainingStarted(task="test", n_envs=1, max_batches=options.rounds))
    for number in range(1, options.rounds + 1):
        one_round(number, options.pause)
        # Each printed time says that everything emitted before it is at least this old.
        print(f"{number} {time.time_ns()}", flush=True)
        if told is not None and told.is_due():
            esper_otel.shutdown("interrupted", "stopped by SIGTERM")
            return
    esper_otel.shutdown()


class Told:
    """SIGTERM, and the time that the trainer needs after it, as for a checkpoint."""

    def __init__(self, goes_on_s: float) -> None:
        self._goes_on_s = goes_on_s
        self._told_at: float | None = None
        signal.signal(signal.SIGTERM, self._note)

    def is_due(self) -> bool:
        if self._told_at is None or self._goes_on_s < 0:
            return False
        return time.monotonic() - self._told_at >= self._goes_on_s

    def _note(self, *_: object) -> None:
        self._told_at = time.monotonic()


def one_round(number: int, pause_s: float) -> None:
    seed = f"ep{number}_env0_seed_0"
    esper_otel.emit(SeedGerminated(seed_id=seed, slot_id="r0c0", env_id=0, blueprint_id="norm", params=10))
    for epoch in range(1, EPOCHS + 1):
        esper_otel.emit(EpochCompleted(env_id=0, episode_idx=number, inner_epoch=epoch, val_accuracy=float(epoch)))
        esper_otel.emit(Decision(env_id=0, inner_epoch=epoch, action_name="WAIT", action_success=True))
        time.sleep(pause_s)
    esper_otel.emit(SeedStageChanged(seed_id=seed, slot_id="r0c0", env_id=0, from_stage="TRAINING", to_stage="PRUNED"))
    esper_otel.emit(SeedPruned(seed_id=seed, slot_id="r0c0", env_id=0, initiator="policy", blueprint_id="norm"))
    esper_otel.emit(PolicyUpdate(batch=number, ppo_update_idx=1, pre_clip_grad_norm=500.0 if number % 7 == 0 else 1.0))
    esper_otel.emit(BatchCompleted(batch_idx=number, episodes_completed=number, n_envs=1))


if __name__ == "__main__":
    main()
