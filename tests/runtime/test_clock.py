"""The run's clock: in the present after every step of the machine's, in order between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import esper_otel
from esper_otel.events import Decision
from esper_otel.runtime.clock import RunClock
from tests.faults.shim import FaultyDisk, build_shim
from tests.relay.processes import manifest, samples, scrape
from tests.runtime.runs import environment, lines_of
from tests.waiting import wait_for

HOUR_NS = 3_600_000_000_000


def times_of(run: Path) -> list[int]:
    """Times of decisions, whole seconds since 1970."""
    from datetime import datetime

    return [
        int(datetime.fromisoformat(line["timestamp"]).timestamp())
        for line in lines_of(run)
        if line["event_type"] == "TAMIYO_DECISION"
    ]


def test_a_small_correction_of_the_clock_puts_nothing_out_of_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path)
    esper_otel.emit(Decision(env_id=1))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 900_000_000)
    esper_otel.emit(Decision(env_id=2))
    esper_otel.shutdown()

    times = [line["timestamp"] for line in lines_of(telemetry.run_dir)]
    assert sorted(times) == times


@pytest.mark.parametrize("hours", [-2, 2])
def test_every_event_after_a_step_of_the_clock_is_in_the_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], hours: int
) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, heartbeat_s=0)
    esper_otel.emit(Decision(env_id=1))
    wait_for(lambda: telemetry.counters["written"] == 1, "the first event on disk")
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + hours * HOUR_NS)
    for number in range(200):  # before anything can have noticed the step
        esper_otel.emit(Decision(env_id=number))
    esper_otel.emit(Decision(env_id=1), timestamp_ns=1_000_000_000)
    esper_otel.shutdown()

    now = real() // 1_000_000_000
    before, *after, given = times_of(telemetry.run_dir)
    assert 1 == given
    assert abs(before - now) < 60
    assert all(abs(at - now - hours * 3600) < 60 for at in after)
    assert 1 == capfd.readouterr().err.count(f"the clock of this machine moved by {hours * 3600:+d} s")


def test_a_process_that_is_stopped_between_two_looks_sees_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = RunClock()
    real = time.time_ns

    def stopped() -> int:
        time.sleep(1.5)
        return real()

    monkeypatch.setattr(time, "time_ns", stopped)
    before = clock.clock_offset_ns
    clock.now_ns()

    assert before == clock.clock_offset_ns


@pytest.mark.parametrize(
    ("first_s", "then_s"), [(0, 7200), (-7200, 0), (7200, 0)], ids=["suspend", "host behind at first", "ahead at first"]
)
def test_heartbeat_and_windows_survive_a_suspend_and_a_wrong_clock_at_the_start(
    tmp_path: Path, first_s: int, then_s: int
) -> None:
    clock = FaultyDisk(build_shim(tmp_path), tmp_path / "orders")
    clock.order(clock_s=first_s)
    body = """
import esper_otel, time
from esper_otel.events import PolicyUpdate
telemetry = esper_otel.configure(run_id="r", heartbeat_s=0.5)
norm = 1.0
for _ in range(2000):
    esper_otel.emit(PolicyUpdate(pre_clip_grad_norm=norm)); time.sleep(0.05)
    norm = 50.0 if (telemetry.run_dir / "later").exists() else 1.0
"""
    env = environment(tmp_path, **clock.env)
    run = tmp_path / "telemetry" / "r"
    with subprocess.Popen([sys.executable, "-c", body], env=env) as child:
        try:
            url = wait_for(lambda: (manifest(run).get("relay") or {}).get("prometheus_url"), "the relay's endpoint")
            clock.order(clock_s=then_s)
            (run / "later").touch()

            def value(name: str) -> float | None:
                found = [number for (metric, _), number in samples(scrape(url)).items() if metric == name]
                return found[0] if found else None

            def age_s() -> float:
                return time.time() + then_s - (value("esper_last_heartbeat_timestamp_seconds") or 0.0)

            wait_for(lambda: abs(age_s()) < 10, "a heartbeat in the present")
            wait_for(lambda: value("tamiyo_max_pre_clip_grad_norm") == 50.0, "the maximum of the last minute")
        finally:
            child.kill()
            os.kill(manifest(run)["relay"]["pid"], 9)
    assert json.loads((run / "run.json").read_text())["status"] == "running"
