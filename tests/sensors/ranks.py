"""Ranks on this machine that train together over gloo, each a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils._python_dispatch import TorchDispatchMode

from esper_otel.events import SensorFault, TrainingUpdate
from esper_otel.sensors import TrainingMonitor


class Collectives(TorchDispatchMode):
    """Counts the collectives that this thread starts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "c10d" in function.namespace and "wait" not in str(function)
        return function(*args, **(kwargs or {}))


Ranks = Callable[[], dict[str, Any]]


def run(function: Ranks, world_size: int, directory: Path) -> list[dict[str, Any]]:
    """Results of ``function`` by rank."""
    torch.multiprocessing.spawn(_rank, (function, world_size, directory), nprocs=world_size)
    return [json.loads((directory / f"{rank}.json").read_text()) for rank in range(world_size)]


def _rank(rank: int, function: Ranks, world_size: int, directory: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{directory / 'meeting'}", rank=rank, world_size=world_size
    )
    try:
        (directory / f"{rank}.json").write_text(json.dumps(function()))
    finally:
        distributed.destroy_process_group()


def sharded_updates() -> dict[str, Any]:
    """Three clipped updates and one that is not, of a model that is sharded over the ranks."""
    from torch.distributed.fsdp import fully_shard

    def train(is_watched: bool) -> tuple[int, list[float], list[Any]]:
        torch.manual_seed(0)
        mesh = distributed.init_device_mesh("cpu", (distributed.get_world_size(),))
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        fully_shard(model, mesh=mesh)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        events: list[Any] = []
        monitor = TrainingMonitor(model, optimizer, emit=events.append) if is_watched else None
        returned = []
        with Collectives() as communication:
            for number in range(4):
                optimizer.zero_grad()
                inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(distributed.get_rank()))
                model(inputs).square().sum().backward()
                if number < 3:
                    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                    returned.append(norm.full_tensor().item())
                optimizer.step()
        if monitor is not None:
            monitor.close()
        return communication.count, returned, events

    unwatched, _, _ = train(False)
    collectives, returned, events = train(True)
    updates = [event for event in events if isinstance(event, TrainingUpdate)]
    return {
        "collectives unwatched": unwatched,
        "collectives": collectives,
        "returned": returned,
        "clipped": [update.pre_clip_grad_norm for update in updates[:3]],
        "left": [update.grad_norm for update in updates[:3]],
        "unclipped": [update.pre_clip_grad_norm for update in updates[3:]],
        "faults": [[event.sensor, event.reason] for event in events if isinstance(event, SensorFault)],
    }


def flattened_updates() -> dict[str, Any]:
    """Three updates clipped by the model's own method, and one that is not, under the first FSDP."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    model = FullyShardedDataParallel(inner, device_id=torch.device("cpu"), use_orig_params=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    events: list[Any] = []
    monitor = TrainingMonitor(model, optimizer, emit=events.append)
    returned = []
    for number in range(4):
        optimizer.zero_grad()
        inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(distributed.get_rank()))
        model(inputs).square().sum().backward()
        if number < 3:
            returned.append(float(model.clip_grad_norm_(0.5)))
        optimizer.step()
    monitor.close()
    updates = [event for event in events if isinstance(event, TrainingUpdate)]
    return {
        "returned": returned,
        "clipped": [update.pre_clip_grad_norm for update in updates[:3]],
        "left": [update.grad_norm for update in updates[:3]],
        "unclipped": [update.pre_clip_grad_norm for update in updates[3:]],
        "model": updates[0].model,
    }
