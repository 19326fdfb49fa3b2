"""A training script that a launcher or supervisor starts again when it dies: ``restarted_trainer.py FOLDER CRASHES``.

It dies by SIGKILL in each of its first CRASHES attempts: all of it alone, rank 1 of it under torchrun. In the attempt
after them it waits for ``FOLDER/release`` before it ends.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import esper_otel
from esper_otel.events import PolicyUpdate

UPDATES = 40


def main() -> None:
    folder, crashes = Path(sys.argv[1]), int(sys.argv[2])
    is_distributed = "TORCHELASTIC_RESTART_COUNT" in os.environ
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"]) if is_distributed else len(list(folder.glob("attempt*")))
    rank = int(os.environ.get("RANK", "0"))
    (folder / f"attempt{attempt}.rank{rank}").touch()
    if is_distributed:
        _join(attempt)
    telemetry = esper_otel.configure(telemetry_dir=folder, run_id="run", linger_s=600.0)
    for number in range(UPDATES):
        esper_otel.emit(PolicyUpdate(ppo_update_idx=number, pre_clip_grad_norm=1.0))
        if is_distributed:
            _all_reduce()
        if attempt < crashes and number == UPDATES // 2 and rank == (1 if is_distributed else 0):
            while telemetry.counters["written"] <= number:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
    while telemetry.counters["written"] < UPDATES:
        time.sleep(0.01)
    (folder / f"emitted{attempt}.rank{rank}").touch()
    while not (folder / "release").exists():
        time.sleep(0.05)
    esper_otel.shutdown()


def _join(attempt: int) -> None:
    """Join the peers; without a prefix gloo finds the addresses of the last attempt in torchrun's store, and hangs."""
    import torch.distributed

    store, rank, world_size = next(torch.distributed.rendezvous("env://"))
    store = torch.distributed.PrefixStore(f"attempt{attempt}", store)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world_size)


def _all_reduce() -> None:
    import torch

    torch.distributed.all_reduce(torch.ones(1))


if __name__ == "__main__":
    main()
