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

from tests.automatic.program_runs import BIN, environment
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


STATUSES: dict[str, tuple[str, int, str, str | None]] = {
    "sys.exit(1)": ("sys.exit(1)", 1, "failed", "SystemExit: 1"),
    "sys.exit(0)": ("sys.exit(0)", 0, "finished", None),
    "sys.exit() with a text": ("sys.exit('no data')", 1, "failed", "SystemExit: no data"),
    "exit(2)": ("exit(2)", 2, "failed", "SystemExit: 2"),
    "the parser of arguments": ("import argparse; argparse.ArgumentParser().error('lr')", 2, "failed", "SystemExit: 2"),
    "raise SystemExit": (
        "raise SystemExit(1)",
        1,
        "interrupted",
        "the program ended by SystemExit; its status is not known",
    ),
    "an exception": ("raise RuntimeError('no data')", 1, "failed", "RuntimeError: no data"),
    "an exception, with a hook that forgets others": (
        "sys.excepthook = lambda *_: None; raise RuntimeError('no data')",
        1,
        "failed",
        "RuntimeError: no data",
    ),
    "an exception without a text": (
        "raise type('Odd', (Exception,), {'__str__': lambda _: 1 / 0})()",
        1,
        "failed",
        "Odd: without a text",
    ),
    "Ctrl-C": ("raise KeyboardInterrupt", -signal.SIGINT, "interrupted", "KeyboardInterrupt: "),
    "an exit that somebody catches": ("\ntry:\n    sys.exit(1)\nexcept SystemExit:\n    pass", 0, "finished", None),
    "an exit that somebody keeps": (
        "\ntry:\n    sys.exit(1)\nexcept SystemExit as error:\n    kept = error",
        0,
        "finished",
        None,
    ),
    "the end of another thread": (
        "from threading import Thread; other = Thread(target=sys.exit, args=(1,)); other.start(); other.join()",
        0,
        "finished",
        None,
    ),
    "an exception in another thread": (
        "from threading import Thread; other = Thread(target=lambda: 1 / 0); other.start(); other.join()",
        0,
        "finished",
        None,
    ),
}


@pytest.mark.parametrize("end", STATUSES)
def test_the_outcome_of_a_run_agrees_with_the_status_of_its_process(end: str, tmp_path: Path) -> None:
    text, status, outcome, detail = STATUSES[end]
    process = started(tmp_path, "autolog", text)
    _, error = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == status, error
    assert [events(tmp_path)[-1]["data"].get(name) for name in ("outcome", "detail")] == [outcome, detail]


IN_A_THREAD = """
import sys, threading
import esper_otel
{before}
import torch
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
def train(end):
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    end()
def fail():
    raise RuntimeError("no data")
for end in {ends}:
    thread = threading.Thread(target=train, args=(end,))
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize(
    ("ends", "outcome", "detail"),
    [
        ("(fail,)", "failed", "in the thread that trained: RuntimeError: no data"),
        ("(fail, bool)", "finished", None),  # another thread went on with the training
        ("(sys.exit,)", "finished", None),
    ],
)
def test_an_exception_that_ends_the_thread_that_trains_fails_the_run(
    ends: str, outcome: str, detail: str | None, tmp_path: Path
) -> None:
    text = IN_A_THREAD.format(before="esper_otel.autolog()", ends=ends)
    done = subprocess.run([sys.executable, "-c", text], env=environment(tmp_path), cwd=tmp_path, timeout=PATIENCE_S)

    assert done.returncode == 0
    assert [events(tmp_path)[-1]["data"].get(name) for name in ("outcome", "detail")] == [outcome, detail]


def test_the_status_that_main_returns_is_that_of_the_run_by_the_command(tmp_path: Path) -> None:
    text = (
        IN_A_THREAD.format(before="", ends="()") + "\ndef main():\n    train(bool)\n    return 3\n\nsys.exit(main())\n"
    )
    (tmp_path / "train.py").write_text(text)
    command = [str(BIN / "esper-otel"), "run", "train.py"]
    done = subprocess.run(command, env=environment(tmp_path), cwd=tmp_path, timeout=PATIENCE_S)

    assert done.returncode == 3
    assert events(tmp_path)[-1]["data"]["outcome"] == "failed"


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
