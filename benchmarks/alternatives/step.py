"""A training step on the CPU of about 4 ms, one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

import torch

TARGET_S: Final = 0.004
HIDDEN: Final = 256
FIRST_BATCH: Final = 128
TRIALS: Final = 60


def training_step() -> tuple[Callable[[], None], float]:
    """A step (forward, backward, Adam) and its usual time in s on this machine, about :data:`TARGET_S`."""
    torch.set_num_threads(1)
    # The network learns its one batch by heart; after some 12,500 steps its gradients are denormal numbers, with which
    # the CPU takes more than twice as long.
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    batch = FIRST_BATCH
    for _ in range(2):
        step = _step(batch)
        took_s = _usual_s(step)
        batch = max(int(batch * TARGET_S / took_s), 8)
    step = _step(batch)
    return step, _usual_s(step)


def _step(batch: int) -> Callable[[], None]:
    layers = [torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs, labels = torch.randn(batch, HIDDEN), torch.randint(0, 10, (batch,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return step


def _usual_s(step: Callable[[], None]) -> float:
    times = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.quantiles(times, n=10)[0]  # other work on the machine must not count
