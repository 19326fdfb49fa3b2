"""The training process of the soak: real optimisation steps that emit events at a steady rate."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch
from sklearn.datasets import load_digits

import esper_otel
from benchmarks.emit import decision
from esper_otel.events import BatchCompleted, EpochCompleted, Event, PolicyUpdate, TrainingStarted

ENVS = 4
DECISIONS_PER_EPOCH = 10
EPOCHS_PER_ROUND = 150


def events() -> Iterator[Event]:
    """Endless events of a run: decisions, an epoch after every ten, an update and a batch after 150 epochs."""
    template = decision()
    for number in itertools.count(1):
        for epoch in range(EPOCHS_PER_ROUND):
            for env in range(DECISIONS_PER_EPOCH):
                yield msgspec.structs.replace(template, env_id=env % ENVS, episode_idx=number, inner_epoch=epoch)
            yield EpochCompleted(env_id=epoch % ENVS, inner_epoch=epoch, val_accuracy=50.0, val_loss=1.0)
        norm = 200.0 if number % 50 == 0 else 1.0
        yield PolicyUpdate(batch=number, ppo_update_idx=number, pre_clip_grad_norm=norm, grad_norm=1.0)
        yield BatchCompleted(batch_idx=number, n_envs=ENVS)


def main() -> None:
    """Train for ``--minutes`` and print the writer's counters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--telemetry-dir", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    telemetry = esper_otel.configure(telemetry_dir=options.telemetry_dir, linger_s=5.0)
    esper_otel.emit(TrainingStarted(n_envs=ENVS))
    source, emitted, started = events(), 1, time.monotonic()
    while (passed_s := time.monotonic() - started) < options.minutes * 60:
        batch = torch.randint(0, len(images), (64,))
        loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        due = int(passed_s * options.rate) - emitted
        for event in itertools.islice(source, max(due, 0)):
            esper_otel.emit(event)
            emitted += 1
        time.sleep(0.004)
    esper_otel.shutdown(timeout_s=30)
    print(json.dumps(telemetry.counters), flush=True)


if __name__ == "__main__":
    main()
