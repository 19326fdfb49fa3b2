"""Real training runs whose clock is set, and that are sent signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.ledger import Figures, fault
from tests.faults.runs import (
    STEPS,
    announced_url,
    delivered,
    ids_in,
    is_gone,
    lines_of,
    numbers_in,
    safe_step,
    steps_in,
    train,
    types_in,
)
from tests.faults.shim import FaultyDisk
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import events_by_type, manifest, scrape
from tests.waiting import PATIENCE_S, wait_for

Weights = Callable[..., str]
NTP_STEP_H = 2
LATE_NS = 200_000_000


@pytest.mark.parametrize(
    "hours",
    [
        pytest.param(
            hours,
            marks=fault(
                f"clock of the machine set {'back' if hours < 0 else 'forward'} by {abs(hours)} h while it trains "
                "(by a preloaded library)",
                holds="times in the log follow the clock in one step and are in order otherwise; nothing is lost "
                "or counted twice; the relay serves and delivers",
            ),
        )
        for hours in (-NTP_STEP_H, NTP_STEP_H)
    ],
)
def test_a_clock_that_is_set_while_training_is_followed_in_one_step(
    tmp_path: Path, shim: Path, silent_weights: Weights, figures: Figures, hours: int
) -> None:
    clock = FaultyDisk(shim, tmp_path / "orders")
    with OtlpReceiver() as receiver:
        env = {**clock.env, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with train(tmp_path, "--relay", "--linger", "300", "--hold-at", "40", pause=0.02, **env) as trainer:
            url = announced_url(trainer.run)
            trainer.steps(40)
            clock.order(clock_s=hours * 3600)
            trainer.go_on(40)
            set_at, (_, told_ns) = time.monotonic(), trainer.steps(40)[-1]
            assert abs(told_ns / 1e9 - time.time() - hours * 3600) < 60, "the clock was not set"
            assert silent_weights(STEPS) == trainer.finish()["weights"]
            wait_for(lambda: events_by_type(scrape(url)) == types_in(trainer.run), "the log's counts")
            wait_for(lambda: {*ids_in(trainer.run)} == {*delivered(receiver)}, "the delivery of every event")
            figures.add(recovered_s=time.monotonic() - set_at)
            # A heartbeat is of the moment in which it is written, before what still waits in the queue.
            lines = [line for line in lines_of(trainer.run) if line["event_type"] != "HEARTBEAT"]
            times = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines]
            gaps = [after - before for before, after in pairwise(times)]
            assert [True] == [abs(gap - hours * 3600) < 60 for gap in gaps if not 0 <= gap < 60]
            assert {1} == {*delivered(receiver).values()}
            assert STEPS == steps_in(trainer.run)


OUTCOMES = {signal.SIGTERM: {"died"}, signal.SIGHUP: {"died"}, signal.SIGINT: {"interrupted"}}


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            number,
            marks=fault(
                f"{number.name} to the trainer",
                holds="nothing older than 50 ms is lost; the log says how it ended; everything is delivered; the relay "
                "ends",
            ),
            id=number.name,
        )
        for number in OUTCOMES
    ],
)
def test_a_signal_ends_the_run_with_its_log_whole(tmp_path: Path, figures: Figures, number: signal.Signals) -> None:
    with (
        OtlpReceiver() as receiver,
        train(tmp_path, "--relay", steps=5000, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint) as trainer,
    ):
        announced_url(trainer.run)
        steps = trainer.steps(60)
        sent_ns = time.time_ns()
        trainer.child.send_signal(number)
        steps += trainer.rest()
        trainer.child.wait(timeout=PATIENCE_S)
        wait_for(lambda: is_gone(trainer.run), "the end of the relay")
        figures.add(recovered_s=(time.time_ns() - sent_ns) / 1e9)
        assert steps_in(trainer.run) >= safe_step(steps, sent_ns, LATE_NS)
        assert lines_of(trainer.run)[-1]["data"]["outcome"] in OUTCOMES[number]
        assert manifest(trainer.run)["status"] in OUTCOMES[number]
        assert dict.fromkeys(ids_in(trainer.run), 1) == delivered(receiver)


@fault(
    "trainer, then relay stopped for two seconds (SIGSTOP, SIGCONT)",
    holds="training is as ever; the trainer is not taken for dead; nothing is lost, sent or counted twice",
)
def test_processes_that_are_stopped_for_a_while_go_on_where_they_were(
    tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with train(tmp_path, "--relay", "--linger", "1", pause=0.02, **env) as trainer:
            announced_url(trainer.run)
            trainer.steps(20)
            for pid in (trainer.child.pid, manifest(trainer.run)["relay"]["pid"]):
                os.kill(pid, signal.SIGSTOP)
                time.sleep(2.0)
                os.kill(pid, signal.SIGCONT)
            continued = time.monotonic()
            assert silent_weights(STEPS) == trainer.finish()["weights"]
            wait_for(lambda: is_gone(trainer.run), "the end of the relay")
            figures.add(recovered_s=time.monotonic() - continued)
            assert dict.fromkeys(ids_in(trainer.run), 1) == delivered(receiver)
            assert ["finished"] == [
                line["data"]["outcome"] for line in lines_of(trainer.run) if line["event_type"] == "RUN_ENDED"
            ]
            assert list(range(1, len(numbers_in(trainer.run)) + 1)) == numbers_in(trainer.run)
