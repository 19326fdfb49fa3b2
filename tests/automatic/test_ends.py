"""However a program ends, its last updates are in the log; a slow loop is reported by seconds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.automatic.program_runs import environment
from tests.runtime.runs import types_of
from tests.tools import python_environment
from tests.waiting import PATIENCE_S, wait_for

LOOP = """
import os, signal, sys, time
import esper_otel
{before}
import torch
from esper_otel.sensors import TrainingMonitor
torch.set_num_threads(1)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
{monitor}
for number in range(7):
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    {each}
{end}
"""
MONITOR = "esper_otel.configure(); monitor = TrainingMonitor(model, optimizer, emit=esper_otel.emit, every=50)"
WAYS = {"autolog": ("esper_otel.autolog()", ""), "a monitor": ("", MONITOR)}
ENDS = {
    "an exception": ("raise RuntimeError('no more data')", "failed"),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", "interrupted"),
    "shutdown() without close()": ("esper_otel.shutdown()", "finished"),
    "nothing": ("", None),
}


def events(directory: Path) -> list[dict[str, Any]]:
    log = directory / "telemetry" / "latest" / "events.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")] if log.exists() else []


def updates(directory: Path) -> list[dict[str, Any]]:
    return [line for line in events(directory) if line["event_type"] == "TOLARIA_TRAINING_UPDATE"]


def started(directory: Path, way: str, end: str, each: str = "pass") -> subprocess.Popen[str]:
    before, monitor = WAYS[way]
    text = LOOP.format(before=before, monitor=monitor, each=each, end=end)
    return subprocess.Popen(
        [sys.executable, "-c", text], env=environment(directory), cwd=directory, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_the_last_updates_are_in_the_log_however_the_program_ends(way: str, end: str, tmp_path: Path) -> None:
    text, outcome = ENDS[end]
    _, error = started(tmp_path, way, text).communicate(timeout=PATIENCE_S)

    assert [line["data"]["update"] for line in updates(tmp_path)] == [1, 2, 3, 4, 5, 6, 7], error
    ended = events(tmp_path)[-1]
    assert ended["event_type"] == "RUN_ENDED"
    assert ended["data"]["outcome"] == (outcome or {"autolog": "finished", "a monitor": "interrupted"}[way])


@pytest.mark.parametrize("way", WAYS)
def test_a_loop_of_slow_steps_is_reported_while_it_runs_with_the_times_of_its_updates(way: str, tmp_path: Path) -> None:
    step = {"autolog": "time.sleep(2.5)", "a monitor": "monitor.step(); time.sleep(2.5)"}[way]
    process = started(tmp_path, way, "", step)
    try:
        wait_for(lambda: len(updates(tmp_path)) >= 2, "two updates, long before fifty steps")
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    first, second = (time.strptime(line["timestamp"][:19], "%Y-%m-%dT%H:%M:%S") for line in updates(tmp_path)[:2])
    assert time.mktime(second) - time.mktime(first) >= 2


@pytest.mark.parametrize("way", WAYS)
def test_updates_before_a_long_pause_are_in_the_log_during_it(way: str, tmp_path: Path) -> None:
    process = started(tmp_path, way, "time.sleep(600)")
    try:
        wait_for(lambda: len(updates(tmp_path)) == 7, "seven updates, while the program sleeps")
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_a_monitor_without_a_step_reports_nothing_into_any_run_of_the_process(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, torch, esper_otel
        from esper_otel.sensors import TrainingMonitor

        model = torch.nn.Linear(4, 1)
        monitor = TrainingMonitor(model, torch.optim.SGD(model.parameters(), 0.1), emit=esper_otel.emit)
        for run in ("first", "second"):
            esper_otel.configure(telemetry_dir=sys.argv[1], run_id=run, relay=False, heartbeat_s=0)
            esper_otel.shutdown()
        """
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=python_environment(), check=True)

    assert [{"RUN_ENDED"}] * 2 == [set(types_of(tmp_path / run)) for run in ("first", "second")]
