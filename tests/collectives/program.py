"""A rank of a gloo job that dumps its Flight Recorder as PyTorch does: ``python program.py FAULT DIRECTORY``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch
from torch import distributed
from torch._C import _distributed_c10d as c10d

ODD = 1
LATE_S = 6.0
PLACES = ("run", "json")


def step(size: int) -> None:
    distributed.all_reduce(torch.ones(size))


def enter(fault: str, is_odd: bool) -> None:
    """Enter a last collective; a rank that sends less than gloo expects crashes nobody else before it has a dump."""
    if fault == "operation" and is_odd:
        distributed.broadcast(torch.ones(64), 0, async_op=True)
        return
    size = 64 if fault == "size" and is_odd else 6
    dtype = torch.float64 if fault == "dtype" and is_odd else torch.float32
    distributed.all_reduce(torch.ones(size, dtype=dtype), async_op=True)


def dump(directory: Path, rank: int) -> None:
    (directory / "run" / f"nccl_trace_rank_{rank}").write_bytes(c10d._dump_fr_trace())
    (directory / "json" / f"nccl_trace_rank_{rank}.json").write_bytes(c10d._dump_fr_trace_json())


def main() -> None:
    fault, directory = sys.argv[1], Path(sys.argv[2])
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group("gloo", init_method=f"file://{directory / 'meeting'}", rank=rank, world_size=world)
    for _ in range(3):
        step(100)
    distributed.broadcast(torch.ones(7), 0)
    if rank == 0:
        distributed.send(torch.ones(2), 1)
    if rank == 1:
        distributed.recv(torch.ones(2), 0)
    if rank != ODD:
        enter(fault, is_odd=False)
        dump(directory, rank)
        time.sleep(3600)
    while len(list((directory / "json").iterdir())) < world - 1:  # gloo aborts ranks that get more than they expect
        time.sleep(0.05)
    if fault == "not_entered":
        time.sleep(LATE_S)
    else:
        enter(fault, is_odd=True)
    dump(directory, rank)
    os._exit(0)


if __name__ == "__main__":
    main()
