"""Real training runs with workers, broken threads, blocked consoles, and neighbours in their directory."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.ledger import Figures, fault
from tests.faults.runs import (
    EXPORT,
    STEPS,
    announced_url,
    delivered,
    ids_in,
    is_gone,
    lines_of,
    numbers_in,
    relay_said,
    steps_in,
    train,
    types_in,
)
from tests.faults.shim import FaultyDisk
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import environment, events_by_type, relay, scrape
from tests.tools import ROOT
from tests.waiting import PATIENCE_S, wait_for

Weights = Callable[..., str]


@pytest.mark.whole
@pytest.mark.parametrize(
    "workers",
    [
        pytest.param(
            workers,
            marks=fault(
                f"DataLoader workers, {workers}, that emit as well (torch)",
                holds="training is as ever; no worker hangs or writes; the parent's events are whole",
            ),
        )
        for workers in ("fork", "spawn")
    ],
)
def test_workers_of_a_data_loader_neither_write_nor_hang(
    tmp_path: Path, silent_weights: Weights, figures: Figures, workers: str
) -> None:
    with train(tmp_path, "--workers", workers, steps=40, learner="torch") as trainer:
        result = trainer.finish(120)

    assert silent_weights(40, "torch") == result["weights"]
    assert 40 == steps_in(trainer.run)
    assert list(range(1, len(numbers_in(trainer.run)) + 1)) == numbers_in(trainer.run)
    figures.add()


@pytest.mark.parametrize(
    "thread",
    [
        pytest.param(
            thread,
            marks=fault(
                f"an exception (MemoryError) in the thread {thread}, ten times, wherever it is",
                holds="the thread goes on; nothing is lost, written twice or torn; training is as ever",
            ),
        )
        for thread in ("esper-otel-encoder", "esper-otel-disk")
    ],
)
def test_a_thread_that_meets_an_exception_goes_on_and_loses_nothing(
    tmp_path: Path, silent_weights: Weights, figures: Figures, thread: str
) -> None:
    with train(tmp_path, "--strike", thread) as trainer:
        result = trainer.finish()

    assert silent_weights(STEPS) == result["weights"]
    assert STEPS == steps_in(trainer.run)
    assert list(range(1, len(numbers_in(trainer.run)) + 1)) == numbers_in(trainer.run)
    assert 1 == trainer.said().count("MemoryError")
    assert "Traceback" not in trainer.said()
    figures.add()


@fault(
    "standard output and error of trainer and relay are pipes that nobody reads, and full, while the disk is full",
    holds="training and its end are not held up; the relay works and ends",
)
def test_a_full_pipe_for_a_console_holds_up_nothing(
    tmp_path: Path, shim: Path, silent_weights: Weights, figures: Figures
) -> None:
    disk = FaultyDisk(shim, tmp_path / "orders")
    disk.order(error=errno.ENOSPC)
    reading, writing = full_pipe()
    result = tmp_path / "result.json"
    train_here = ["-m", "tests.faults.child", str(tmp_path), "--result", str(result), "--quiet"]
    relay_it = ["-m", "esper_otel.relay", str(tmp_path / "run"), "--linger", "0"]
    healing = threading.Timer(1.0, disk.heal)
    healing.start()
    try:
        for arguments in (train_here, relay_it):
            started = time.monotonic()
            command = [sys.executable, *arguments]
            env = environment(**EXPORT, **disk.env)
            subprocess.run(command, cwd=ROOT, env=env, stdout=writing, stderr=writing, timeout=PATIENCE_S, check=True)
        figures.add(recovered_s=time.monotonic() - started)
    finally:
        healing.join()
        os.close(reading)
        os.close(writing)

    assert silent_weights(STEPS) in result.read_text()
    assert STEPS == steps_in(tmp_path / "run")


def full_pipe() -> tuple[int, int]:
    """Both ends of a pipe into which nothing more fits."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


@fault(
    "relay whose console is on a full disk (/dev/full)",
    holds="it serves, delivers and ends as ever",
)
def test_a_relay_that_can_say_nothing_works_all_the_same(tmp_path: Path, figures: Figures) -> None:
    with train(tmp_path) as trainer:
        trainer.finish()
    with OtlpReceiver() as receiver, open("/dev/full", "w") as full:  # noqa: PTH123  # a device, not a file
        env = environment(**EXPORT, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint)
        command = [sys.executable, "-m", "esper_otel.relay", str(trainer.run), "--linger", "0"]
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=full, stderr=full, timeout=PATIENCE_S, check=False)

        assert 0 == done.returncode
        assert dict.fromkeys(ids_in(trainer.run), 1) == delivered(receiver)
    figures.add()


@fault(
    "two runs at once in one telemetry directory, and a third that takes the id of the first",
    holds="each has its own log, relay and port; the third is refused in one line that names the writer's process",
)
def test_two_runs_in_one_directory_keep_apart_and_a_second_writer_is_refused(
    tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(
            train(tmp_path, "--relay", "--linger", "300", pause=0.03, scratch=made(tmp_path / "a"))
        )
        url = announced_url(first.run)
        second = stack.enter_context(
            train(tmp_path, "--relay", "--linger", "300", "--run-id", "other", scratch=made(tmp_path / "b"))
        )
        second.run = tmp_path / "other"
        third = stack.enter_context(train(tmp_path, scratch=made(tmp_path / "c")))
        third.child.communicate(timeout=PATIENCE_S)
        assert third.child.returncode != 0
        assert f"process {first.child.pid} already writes the log" in third.said()
        for trainer, at in ((first, url), (second, announced_url(second.run))):
            assert silent_weights(STEPS) == trainer.finish()["weights"]
            wait_for(lambda at=at, run=trainer.run: events_by_type(scrape(at)) == types_in(run), "the log's counts")
            assert STEPS == steps_in(trainer.run)
            figures.add()


def made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@fault(
    "two relays on one log: a second like the first, and one with a state directory of its own",
    holds="the second is refused in one line; the other serves the same counts; each sends every line once",
)
def test_two_relays_on_one_log_do_not_disturb_each_other(tmp_path: Path, figures: Figures) -> None:
    with OtlpReceiver() as receiver, OtlpReceiver() as other_receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with train(tmp_path, "--relay", "--linger", "300", pause=0.02, **env) as trainer:
            url = announced_url(trainer.run)
            with relay(trainer.run, "--follow", **env) as refused:
                _, errors = refused.communicate(timeout=PATIENCE_S)
            state = ("--state-dir", str(tmp_path / "own"), "--linger", "0")
            own = {**EXPORT, "OTEL_EXPORTER_OTLP_ENDPOINT": other_receiver.http_endpoint}
            with relay(trainer.run, "--follow", *state, **own) as other:
                trainer.finish()
                other.communicate(timeout=PATIENCE_S)
            assert 2 == refused.returncode
            assert 1 == errors.count("another relay follows this run; stop it")
            assert 0 == other.returncode
            wait_for(lambda: events_by_type(scrape(url)) == types_in(trainer.run), "the log's counts")
            expected = dict.fromkeys(ids_in(trainer.run), 1)
            wait_for(lambda: len(receiver.logs) == len(expected), "the delivery of every event")
            assert expected == delivered(receiver) == delivered(other_receiver)
    figures.add()


@pytest.mark.whole
@fault(
    "file system without locks (ENOLCK, by a preloaded library), trainer killed or not",
    holds="a living trainer is not taken for dead; a killed one is known by its process id",
)
def test_without_locks_a_living_trainer_is_not_taken_for_dead_and_a_killed_one_is(
    tmp_path: Path, shim: Path, figures: Figures
) -> None:
    disk = FaultyDisk(shim, tmp_path / "orders")
    disk.order(lock_error=errno.ENOLCK)
    with train(tmp_path, "--relay", steps=5000, **disk.env) as trainer:
        announced_url(trainer.run)
        trainer.steps(20)
        time.sleep(2.5)
        assert 0 == types_in(trainer.run)["RUN_ENDED"]
        trainer.child.kill()
        killed = time.monotonic()
        trainer.child.communicate()
        wait_for(lambda: is_gone(trainer.run), "the end of the relay")
        figures.add(recovered_s=time.monotonic() - killed)
        assert "died" == lines_of(trainer.run)[-1]["data"]["outcome"], relay_said(trainer.run)
