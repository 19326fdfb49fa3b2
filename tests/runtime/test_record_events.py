"""``esper_otel.testing``: a user's test sees what the code under test emitted, and nothing reaches a disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import esper_otel
from esper_otel.events import Event, GradientStats, PolicyUpdate, RunEnded, Severity
from esper_otel.sensors import TrainingMonitor
from esper_otel.testing import record_events


def test_events_are_kept_in_order_with_what_was_given_with_them() -> None:
    with record_events(group_id="a") as run:
        esper_otel.emit(PolicyUpdate(policy_loss=0.5), message="first", timestamp_ns=7)
        esper_otel.emit(PolicyUpdate(policy_loss=math.nan), group_id="b", severity=Severity.ERROR)

    assert [("a", "info", "first"), ("b", "error", None)] == [item[2:] for item in run.emitted]
    assert 7 == run.emitted[0].timestamp_ns < run.emitted[1].timestamp_ns
    assert 0.5 == run.of(PolicyUpdate)[0].policy_loss
    assert [] == run.of(RunEnded)


def test_code_that_configures_and_ends_its_own_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with record_events() as run:
        telemetry = esper_otel.configure(telemetry_dir=tmp_path / "telemetry", run_id="mine")
        esper_otel.emit(PolicyUpdate(policy_loss=0.5))
        counters = telemetry.counters
        esper_otel.shutdown("failed", "out of memory", rounds=3)
        esper_otel.emit(PolicyUpdate(policy_loss=0.25))

    assert {"emitted": 1, "written": 1} == counters
    assert 0.5 == run.one(PolicyUpdate).policy_loss
    assert run.ended is not None
    assert ("failed", "out of memory", 3) == (run.ended.outcome, run.ended.detail, run.ended.rounds)
    assert [] == list(tmp_path.iterdir())


def test_a_setting_that_a_run_would_refuse_is_refused() -> None:
    with record_events(), pytest.raises(ValueError, match="rank must be in"):
        esper_otel.configure(rank=2, world_size=2)


@pytest.mark.parametrize(
    ("event", "problem"),
    [({"loss": 1.0}, "not dict"), (PolicyUpdate(policy_loss=object()), "policy_loss")],  # type: ignore[arg-type]
)
def test_what_the_log_would_leave_out_raises_in_the_test(event: Event, problem: str) -> None:
    with record_events(), pytest.raises(TypeError, match=problem):
        esper_otel.emit(event)


def test_the_only_event_of_a_class_is_asked_for_and_anything_else_lists_what_there_was() -> None:
    with record_events() as run:
        esper_otel.emit(PolicyUpdate(batch=1))
        esper_otel.emit(PolicyUpdate(batch=2))

    with pytest.raises(AssertionError, match="2 PolicyUpdate events were emitted, not 1; in order: PolicyUpdate, Pol"):
        run.one(PolicyUpdate)


def test_after_the_block_the_process_has_no_run_and_two_blocks_do_not_nest() -> None:
    with record_events() as run, pytest.raises(RuntimeError, match="call shutdown"), record_events():
        pass
    esper_otel.emit(PolicyUpdate(batch=1))

    assert [] == run.events


def test_the_monitor_of_a_training_loop_reports_its_gradients() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with record_events() as run, TrainingMonitor(model, optimizer, emit=esper_otel.emit, every=1) as monitor:
        model(torch.ones(4, 2)).sum().backward()
        optimizer.step()
        monitor.step()

    norm = run.of(GradientStats)[0].norm
    assert norm == pytest.approx(math.sqrt(2 * 4.0**2 + 4.0**2))
