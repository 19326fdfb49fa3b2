"""A plain training loop that knows nothing of us, healthy or with one fault.

    esper-otel run -m benchmarks.diagnosing.loops FAULT --seed 1
    esper-otel run torchrun --standalone --nproc-per-node 3 -m benchmarks.diagnosing.loops slow_rank_sleep

The seed also draws the configuration: width, batch, optimizer, learning rate. With ``--on-signal`` the slow rank is
like the others until it gets SIGUSR2.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any, Final

import torch
from sklearn.datasets import load_digits
from torch import distributed, nn, optim
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

FAULTS: Final = (
    *("none", "slow_loader", "lr_x30", "nan_input", "memory_leak", "recompilation", "deep_sigmoid", "dead_layer"),
    *("bad_batch", "killed", "raised", "loss_diverges"),
    *("slow_rank_sleep", "slow_rank_compute", "slow_rank_input", "killed_rank"),
)
SLOW_RANK: Final = 1
LAG_S: Final = 0.015
LAG_SHARE: Final = 0.5
"""Time that a slow rank loses in each step, s, or share of a step if that is more: 15 ms of a step to which a busy
machine gives 80 ms are no slowness by any rule."""

HIT_AT: Final = 0.6
"""Share of the steps after which a fault that begins in mid-run does."""


class Digits(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Handwritten digits; reading one takes ``delay_s``, and with ``is_poisoned`` its first number is NaN."""

    def __init__(self, delay_s: float = 0.0) -> None:
        """Of all 1,797 images."""
        raw = load_digits()
        self.images = torch.as_tensor(raw.images, dtype=torch.float32).flatten(1) / 16
        self.labels = torch.as_tensor(raw.target)
        self.delay_s, self.is_poisoned = delay_s, False

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One image and its label."""
        if self.delay_s:
            time.sleep(self.delay_s)
        image = self.images[index]
        return (image * torch.nan if self.is_poisoned else image), self.labels[index]


class Loop:
    """One training with its fault."""

    def __init__(self, fault: str, seed: int, steps: int, seconds: float) -> None:
        """``seconds``: least duration, s; memory that grows is only seen over some time."""
        self.pause_s = 0.004 if seconds else 0.0  # a step of a useful size
        self.fault, self.steps, self.seconds = fault, steps, seconds
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.is_to_be_slow = self.rank == SLOW_RANK and fault.startswith("slow_rank")
        self.is_slow = self.is_to_be_slow
        draw = random.Random(seed)
        torch.manual_seed(seed)
        self.width, self.batch = draw.choice((48, 96, 160)), draw.choice((16, 32, 64))
        self.has_loader = fault in {"slow_loader", "slow_rank_input"} or (fault == "none" and seed % 4 < 2)
        self.data = Digits(self._delay_s())
        self.model = self._model()
        self.optimizer = self._optimizer(draw)
        self.kept: list[torch.Tensor] = []
        self.began_s = self.lost_s = self.pace_s = 0.0

    def _delay_s(self) -> float:
        if self.fault == "slow_loader":
            return 0.02 / self.batch
        return 0.03 / self.batch if self.fault == "slow_rank_input" and self.is_slow else 0.0

    def _model(self) -> nn.Module:
        if self.fault == "deep_sigmoid":
            inner = [layer for _ in range(14) for layer in (nn.Linear(self.width, self.width), nn.Sigmoid())]
            return nn.Sequential(nn.Linear(64, self.width), nn.Sigmoid(), *inner, nn.Linear(self.width, 10))
        model = nn.Sequential(
            nn.Linear(64, self.width),
            nn.ReLU(),
            nn.Linear(self.width, self.width),
            nn.ReLU(),
            nn.Linear(self.width, 10),
        )
        if self.fault == "recompilation":
            torch._dynamo.config.recompile_limit = 10_000
            compiled: Any = torch.compile(model, backend="eager", dynamic=False)
            model = compiled
        if self.world > 1:
            distributed.init_process_group("gloo")
            model = DistributedDataParallel(model)  # type: ignore[assignment]
        return model

    def _optimizer(self, draw: random.Random) -> optim.Optimizer:
        parameters = self.model.parameters()
        is_sgd = draw.random() < 0.5 or self.fault == "lr_x30"
        if is_sgd:
            rate = draw.choice((0.05, 0.1))
            return optim.SGD(parameters, lr=rate * (30 if self.fault == "lr_x30" else 1), momentum=0.9)
        return optim.Adam(parameters, lr=draw.choice((5e-4, 1e-3, 2e-3)))

    def slow_on_signal(self) -> None:
        """Be like the other ranks until SIGUSR2."""
        self.is_slow = False
        self.data.delay_s = 0.0
        signal.signal(signal.SIGUSR2, self._slow_down)

    def _slow_down(self, *_: object) -> None:
        self.is_slow = self.is_to_be_slow
        self.data.delay_s = self._delay_s()

    def run(self) -> None:
        """Train."""
        began = time.monotonic()
        batches = self._batches()
        step = 0
        while step < self.steps or time.monotonic() - began < self.seconds:
            step += 1
            self._begin_step(step)
            images, labels = next(batches)
            loss = functional.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            (loss * self._factor(step)).backward()
            self.optimizer.step()
            self._end_step(step)

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while self.has_loader:
            yield from DataLoader(self.data, batch_size=self.batch, shuffle=True, drop_last=True)
        while True:
            size = (
                random.randint(2, self.batch) if self.fault == "recompilation" else self.batch
            )  # as unpadded texts do
            rows = torch.randint(len(self.data), (size,))
            images = self.data.images[rows]
            yield (images * torch.nan if self.data.is_poisoned else images), self.data.labels[rows]

    def _begin_step(self, step: int) -> None:
        now = time.monotonic()
        if self.began_s:
            self.pace_s += 0.1 * (now - self.began_s - self.lost_s - self.pace_s)
        lag_s = max(LAG_S, LAG_SHARE * self.pace_s)
        if self.is_slow and self.fault == "slow_rank_sleep":
            time.sleep(lag_s)
        if self.is_slow and self.fault == "slow_rank_compute":
            while time.monotonic() < now + lag_s:
                torch.randn(64, 64) @ torch.randn(64, 64)
        self.began_s, self.lost_s = now, time.monotonic() - now
        if step == int(HIT_AT * self.steps):
            self._hit()

    def _hit(self) -> None:
        self.data.is_poisoned = self.fault == "nan_input"
        if self.fault == "raised":
            raise RuntimeError("the data set is gone")
        if self.fault == "killed" or (self.fault == "killed_rank" and self.rank == SLOW_RANK):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "loss_diverges":
            self.optimizer.param_groups[0]["lr"] *= -1  # climbs: the sign of a loss was lost
        if self.fault == "dead_layer":
            with torch.no_grad():
                next(layer for layer in self.model.modules() if isinstance(layer, nn.Linear)).bias.fill_(-100.0)

    def _factor(self, step: int) -> float:
        return 1e5 if self.fault == "bad_batch" and step == int(HIT_AT * self.steps) else 1.0

    def _end_step(self, step: int) -> None:
        if self.pause_s:
            time.sleep(self.pause_s)
        if self.fault == "memory_leak":
            self.kept.append(torch.randn(60_000))


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--on-signal", action="store_true")
    parser.add_argument("--pause", type=float, metavar="S", help="sleep in each step")
    options = parser.parse_args()
    torch.set_num_threads(1)
    loop = Loop(options.fault, options.seed, options.steps, options.seconds)
    if options.pause is not None:
        loop.pause_s = options.pause
    if options.on_signal:
        loop.slow_on_signal()
    loop.run()
    with contextlib.suppress(Exception):
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
