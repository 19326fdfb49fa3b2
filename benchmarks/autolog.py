"""Cost of recording every update: the same small network trained in turns with and without.

    python -m benchmarks.autolog [--blocks 15] [--steps 400]

It prints the CPU time of the training thread for a step, as least and median of the blocks, and the ratio. Both clip.
The events of a block are handed to the log within its time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time

import torch

import esper_otel
from esper_otel.automatic.recorder import Recorder


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--width", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    layers = [layer for _ in range(5) for layer in (torch.nn.Linear(options.width, options.width), torch.nn.Tanh())]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters())
    inputs = torch.randn(64, options.width)
    with tempfile.TemporaryDirectory() as directory:
        esper_otel.configure(telemetry_dir=directory, relay=False)
        found = measured(model, optimizer, inputs, options.blocks, options.steps)
        esper_otel.shutdown()
    print(json.dumps(found, indent=2))


def measured(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, blocks: int, steps: int
) -> dict[str, float]:
    """Time of a step in µs, off and on in the order off, on, on, off."""
    times: dict[bool, list[float]] = {False: [], True: []}
    block(model, optimizer, inputs, steps)
    for _ in range(blocks):
        for is_on in (False, True, True, False):
            recorder = Recorder(lambda: True) if is_on else None
            if recorder is not None:
                recorder.start()
                block(model, optimizer, inputs, 2)  # finds the model, opens what is opened once
            begin = time.thread_time()
            block(model, optimizer, inputs, steps)
            if recorder is not None:
                recorder.stop()
            times[is_on].append((time.thread_time() - begin) / steps * 1e6)
    off, on = times[False], times[True]
    return {
        "off, least, µs": round(min(off), 1),
        "on, least, µs": round(min(on), 1),
        "added, least, µs": round(min(on) - min(off), 1),
        "ratio of least": round(min(on) / min(off), 4),
        "ratio of medians": round(statistics.median(on) / statistics.median(off), 4),
    }


def block(model: torch.nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, steps: int) -> None:
    """Train."""
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()


if __name__ == "__main__":
    main()
