"""Cost and correctness of the sensors on a real GPU, in one run.

    python -m benchmarks.gpu_timing [--step-ms 5] [--blocks 40] [--steps 100] [--device cuda]

Four parts, each with its verdict: no synchronisation in the monitored loop; step time with all sensors on against off,
in turns; phase times against the profiler's kernel times; the relay's NVML figures beside those of nvidia-smi.
Clocks, power limits and modes of the card are left as they are.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import torch

import esper_otel
from esper_otel.relay.gpu.sampler import NvmlSampler
from esper_otel.sensors import PhaseTimer, TrainingMonitor
from esper_otel.signals import hardware as hw

WARM_UP_STEPS = 30
PHASES = ("forward", "backward", "optimizer_step")
QUERIES = {
    "power.draw.instant": (hw.POWER, 1.0),
    "utilization.gpu": (hw.UTILIZATION, 100.0),
    "utilization.memory": (hw.MEMORY_BUSY, 100.0),
    "memory.total": (hw.MEMORY_LIMIT, 2.0**-20),
    "memory.used": (hw.MEMORY_USAGE, 2.0**-20),
    "temperature.gpu": (hw.TEMPERATURE, 1.0),
    "clocks.sm": (hw.CLOCK, 1e-6),
    "enforced.power.limit": (hw.POWER_LIMIT, 1.0),
}
"""nvidia-smi's name -> our metric, and the factor to nvidia-smi's unit."""

FIRST_POINT = {hw.UTILIZATION: "general", hw.TEMPERATURE: "gpu_core", hw.CLOCK: "sm"}


class Workload:
    """Training of a multi-layer perceptron whose step takes about a given time on the device."""

    def __init__(self, device: torch.device, step_ms: float) -> None:
        """Find the batch size that gives ``step_ms``."""
        torch.manual_seed(0)
        self.device = device
        self.model = torch.nn.Sequential(
            *(layer for _ in range(6) for layer in (torch.nn.Linear(2048, 2048), torch.nn.GELU()))
        ).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        self.scaler = torch.amp.GradScaler(device.type)
        self.batch = 1024
        for _ in range(6):
            self.x = torch.randn(self.batch, 2048, device=device)
            self.run(10)
            self.batch = max(64, int(self.batch * min(4.0, step_ms * 1e-3 / self.seconds(20))) // 64 * 64)
        self.x = torch.randn(self.batch, 2048, device=device)

    def step(self, phase: Callable[[str], AbstractContextManager[object]]) -> None:
        """One training step."""
        with phase("forward"), torch.autocast(self.device.type, dtype=torch.float16):
            loss = self.model(self.x).square().mean()
        with phase("backward"):
            self.scaler.scale(loss).backward()
        with phase("optimizer_step"):
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)

    def run(self, steps: int, monitor: TrainingMonitor | None = None) -> None:
        """Steps without waiting."""
        for _ in range(steps):
            if monitor is None:
                self.step(off)
            else:
                self.step(monitor.phase)
                monitor.step()

    def seconds(self, steps: int, monitor: TrainingMonitor | None = None) -> float:
        """Seconds a step, over ``steps``; the device is idle before and after."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        self.run(steps, monitor)
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / steps


def off(_: str) -> AbstractContextManager[object]:
    """No timing."""
    return nullcontext()


def monitor_of(work: Workload) -> TrainingMonitor:
    """All sensors at their defaults, into a real event log."""
    return TrainingMonitor(work.model, work.optimizer, emit=esper_otel.emit, scaler=work.scaler)


def synchronisations(work: Workload) -> None:
    """Run the monitored loop with every synchronising call of torch raising an error.

    The scaler's own step reads whether gradients were finite, which synchronises by design: without it here.
    """
    monitor = TrainingMonitor(work.model, work.optimizer, emit=esper_otel.emit, every=5)

    def plain_step() -> None:
        with monitor.phase("forward"), torch.autocast(work.device.type, dtype=torch.bfloat16):
            loss = work.model(work.x).square().mean()
        with monitor.phase("backward"):
            loss.backward()
        with monitor.phase("optimizer_step"):
            work.optimizer.step()
            work.optimizer.zero_grad(set_to_none=True)
        monitor.step()

    for _ in range(10):
        plain_step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(100):
            plain_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    monitor.close()
    print("synchronisations in 100 monitored steps (set_sync_debug_mode('error')): 0")


def overhead(work: Workload, blocks: int, steps: int) -> None:
    """Step time with sensors on over off, blocks in random turns; 95 % interval by bootstrap over the pairs."""
    monitor = monitor_of(work)
    work.run(WARM_UP_STEPS, monitor)
    chance = random.Random(0)
    ratios, off_ms, repeat = [], [], []
    for _ in range(blocks):
        order = ["off", "on", "again"]
        chance.shuffle(order)
        took = {name: work.seconds(steps, monitor if name == "on" else None) for name in order}
        ratios.append(took["on"] / took["off"])
        repeat.append(took["again"] / took["off"])
        off_ms.append(took["off"] * 1e3)
    monitor.close()
    print(f"step without sensors: median {statistics.median(off_ms):.3f} ms over {blocks} blocks of {steps}")
    for name, found in (("on/off", ratios), ("off/off (the noise)", repeat)):
        low, high = interval(found)
        print(f"{name}: median {statistics.median(found):.5f}, 95 % interval [{low:.5f}, {high:.5f}]")
    print(f"passes not timed: {monitor.timer.unmeasured or 0}")


def interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the median."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[-51]


def host_cost(device: torch.device) -> None:
    """Cost of a phase on the host, µs."""
    timer = PhaseTimer(device)
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(100):
            with timer.phase("x"):
                pass
        took = (time.perf_counter() - start) / 100
        torch.cuda.synchronize()
        timer.harvest()
    print(f"host time of a phase (two events): {took * 1e6:.2f} µs")


def agreement(work: Workload, steps: int) -> None:
    """Phase times against the sums of the profiler's kernel times inside the same phases."""
    timer = PhaseTimer(work.device)

    def phase(name: str) -> AbstractContextManager[object]:
        return Both(timer, name)

    # On one thread, so that the backward pass's kernels belong to the range around it.
    with torch.autograd.set_multithreading_enabled(False):
        for _ in range(10):
            work.step(phase)
        torch.cuda.synchronize()
        timer.harvest()
        activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            torch.cuda._sleep(100_000_000)  # the host gets ahead, so that kernels follow each other without gaps
            for _ in range(steps):
                work.step(phase)
            torch.cuda.synchronize()
    found = timer.harvest()
    for name in PHASES:
        events = [event for event in profile.key_averages() if event.key == f"phase.{name}"]
        kernels_s = max(event.device_time_total for event in events) * 1e-6 if events else float("nan")
        ours_s = sum(found[name])
        print(
            f"{name}: events {ours_s / steps * 1e3:.3f} ms, kernels {kernels_s / steps * 1e3:.3f} ms a step, "
            f"difference {100 * (ours_s / kernels_s - 1):+.2f} %"
        )


class Both(AbstractContextManager[None]):
    """A phase of the timer and a range of the profiler."""

    def __init__(self, timer: PhaseTimer, name: str) -> None:
        """Name both."""
        self._range = torch.profiler.record_function(f"phase.{name}")
        self._phase = timer.phase(name)

    def __enter__(self) -> None:
        """Enter both."""
        self._range.__enter__()
        self._phase.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave both."""
        self._phase.__exit__(kind, error, trace)
        self._range.__exit__(None, None, None)


def nvml_beside_nvidia_smi(work: Workload) -> None:
    """The relay's figures beside those of nvidia-smi, under the same load."""
    sampler = NvmlSampler(environ=os.environ, own_pids=lambda: {os.getpid()}, say=lambda line: print(f"  said: {line}"))
    sampler.start()
    end = time.monotonic() + 6
    shown = ""
    while time.monotonic() < end:
        work.seconds(100)
        if time.monotonic() > end - 2.5 and not shown:
            shown = nvidia_smi()
    points = sampler.points()
    sampler.stop()
    print("NVML through the relay's sampler | nvidia-smi")
    for (query, (signal, factor)), theirs in zip(QUERIES.items(), shown.split(","), strict=False):
        ours = [v * factor for k, v in points[signal].items() if k[4:] in {(), (FIRST_POINT.get(signal, ""),)}]
        print(f"  {signal.prometheus_name:<34} {ours[0] if ours else float('nan'):12.2f} | {theirs.strip()} {query}")
    for signal in hw.HARDWARE_SIGNALS:
        print(f"  {signal.prometheus_name}: {len(points[signal])} points")
    for key, value in sorted(points[hw.ACTIVITY].items()):
        print(f"  activity {key[4]}: {value:.3f}")
    for (name,), seconds in sorted(points[hw.CALL_TIME].items(), key=lambda item: -item[1])[:8]:
        print(f"  cost {name}: {seconds / points[hw.CALLS][(name,)] * 1e6:.0f} µs a call")
    print(f"  faults: {dict(points[hw.FAULTS])}")


def nvidia_smi() -> str:
    """Its answer to QUERIES for the first GPU, comma-separated."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    arguments = [program, "-i", "0", f"--query-gpu={','.join(QUERIES)}", "--format=csv,noheader,nounits"]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False).stdout.strip()


def main() -> int:
    """Run all parts; the exit status is 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-ms", type=float, default=5.0, help="target length of a step")
    parser.add_argument("--blocks", type=int, default=40, help="pairs of blocks with sensors on and off")
    parser.add_argument("--steps", type=int, default=100, help="steps in a block")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: this benchmark needs one (tests/sensors covers the rest without)", file=sys.stderr)
        return 2
    device = torch.device(options.device)
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    with tempfile.TemporaryDirectory() as directory:
        esper_otel.configure(telemetry_dir=directory, relay=False)
        work = Workload(device, options.step_ms)
        print(f"batch {work.batch}, 6 layers of 2048")
        host_cost(device)
        synchronisations(work)
        overhead(work, options.blocks, options.steps)
        agreement(work, 50)
        nvml_beside_nvidia_smi(work)
        esper_otel.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
