"""A training process whose policy is healthy until a file tells it to explode once: ``updating_child.py DIRECTORY``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import esper_otel
from esper_otel.events import PolicyUpdate, TrainingStarted

EXPLODE = "explode"
NORM = 12_345.0


def main(directory: Path) -> None:
    """Update the policy 20 times a second, for ever."""
    esper_otel.configure(telemetry_dir=directory, run_id="run", relay=False, heartbeat_s=0.5)
    esper_otel.emit(TrainingStarted(task="test", n_envs=1))
    is_armed = True
    while True:
        esper_otel.emit(PolicyUpdate(ppo_update_idx=1, pre_clip_grad_norm=1.0))
        if is_armed and (directory / EXPLODE).exists():
            esper_otel.emit(PolicyUpdate(ppo_update_idx=2, pre_clip_grad_norm=NORM))
            is_armed = False
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
