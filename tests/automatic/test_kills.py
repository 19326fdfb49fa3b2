"""A plain loop under autolog that is killed loses no more than the log's own window; one that is fast loses nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.automatic.program_runs import environment
from tests.killing import due_when_killed
from tests.waiting import PATIENCE_S

# It tells over a pipe, outside the log under test, how often optimizer.step() returned and when.
LOOP = """
import os, sys, time
import esper_otel
esper_otel.autolog()
import torch
torch.set_num_threads(1)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
inputs = torch.ones(2, 4)
steps, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    optimizer.zero_grad()
    model(inputs).square().sum().backward()
    optimizer.step()
    steps += 1
    if sys.argv[2] == "told":
        os.write(1, b"%d %.6f\\n" % (steps, time.monotonic()))
os.write(1, b"%d %.6f\\n" % (steps, time.monotonic()))
"""
SCHEDULING_S = 0.15
"""Slack for a machine whose cores are busy; the promise itself is for a core that is free."""


def started(directory: Path, seconds: float, told: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", LOOP, str(seconds), told]
    return subprocess.Popen(command, env=environment(directory), cwd=directory, stdout=subprocess.PIPE)


def events(directory: Path) -> list[dict[str, Any]]:
    logs = sorted((directory / "telemetry" / "latest").glob("events*.jsonl"))
    lines = (line for log in logs for line in log.read_text().splitlines(keepends=True))
    return [json.loads(line) for line in lines if line.endswith("\n")]


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    return sorted(line["data"]["update"] for line in lines if line["event_type"] == "TOLARIA_TRAINING_UPDATE")


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_of_a_plain_loop_keeps_every_update_older_than_50_ms(tmp_path: Path, seed: int) -> None:
    with started(tmp_path, PATIENCE_S, "told") as process:
        due = due_when_killed(process, random.Random(seed).uniform(0.3, 1.5), slack_s=SCHEDULING_S)

    kept = numbers(events(tmp_path))
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) >= max(due) > 0


def test_a_loop_of_thousands_of_updates_a_second_has_every_update_in_its_log(tmp_path: Path) -> None:
    with started(tmp_path, 4.0, "at the end") as process:
        out, _ = process.communicate(timeout=PATIENCE_S)

    lines = events(tmp_path)
    steps = int(out.split()[0])
    assert steps > 1000
    assert numbers(lines) == list(range(1, steps + 1))
    assert [line for line in lines if line["event_type"] == "TELEMETRY_LOSS"] == []
