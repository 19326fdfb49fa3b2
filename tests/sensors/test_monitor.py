"""The monitor in a plain loop, and the example of the documentation as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from esper_otel.events import (
    AmpState,
    CompilerStats,
    Event,
    GradientStats,
    InfrastructureSnapshot,
    PhaseDurations,
    SensorFault,
)
from esper_otel.sensors import TrainingMonitor
from tests.relay import processes
from tests.waiting import PATIENCE_S, wait_for

ROOT = Path(__file__).parents[2]
E = TypeVar("E", bound=Event)


def train(steps: int, events: list[Event], accumulate: int = 1, **options: object) -> TrainingMonitor:
    """A small loop; ``accumulate`` micro-batches go into each update."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with TrainingMonitor(model, optimizer, emit=events.append, **options) as monitor:  # type: ignore[arg-type]
        for step in range(1, steps + 1):
            with monitor.phase("forward"):
                loss = model(torch.ones(3, 6)).square().mean()
            with monitor.phase("backward"):
                loss.backward()
            if step % accumulate == 0:
                with monitor.phase("optimizer_step"):
                    optimizer.step()
                optimizer.zero_grad()
            monitor.step()
    return monitor


def of_type(events: list[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def test_every_pass_of_every_phase_is_in_the_events() -> None:
    events: list[Event] = []
    train(25, events, every=10)

    counts: Counter[str] = Counter()
    for event in of_type(events, PhaseDurations):
        counts.update({name: len(values) for name, values in event.durations_s.items()})
    assert counts == {"forward": 25, "backward": 25, "optimizer_step": 25}


def test_a_snapshot_covers_the_steps_since_the_last_one_and_averages_their_phases() -> None:
    events: list[Event] = []
    train(25, events, every=10)
    snapshots = of_type(events, InfrastructureSnapshot)
    durations = of_type(events, PhaseDurations)

    assert [(s.batch_idx, s.batch_window) for s in snapshots] == [(10, 10), (20, 10), (25, 5)]
    forward = durations[0].durations_s["forward"]
    assert snapshots[0].avg_forward_time_ms == pytest.approx(1e3 * sum(forward) / len(forward))
    assert snapshots[0].avg_optimizer_time_ms > 0
    assert snapshots[0].process_memory_bytes > 10_000_000
    assert snapshots[0].cuda_memory_allocated_gb is None


def test_gradients_are_measured_once_a_report_before_the_update() -> None:
    events: list[Event] = []
    train(25, events, every=10)

    assert [stats.step for stats in of_type(events, GradientStats)] == [1, 11, 21]
    assert all(stats.norm > 0 and list(stats.norm_per_layer) == ["0", "2"] for stats in of_type(events, GradientStats))


def test_with_gradient_accumulation_the_gradients_are_those_of_an_update() -> None:
    events: list[Event] = []
    train(24, events, accumulate=4, every=10)

    assert [stats.step for stats in of_type(events, GradientStats)] == [4, 12, 24]


def test_a_monitored_loop_trains_exactly_as_an_unmonitored_one() -> None:
    def weights(is_monitored: bool) -> list[torch.Tensor]:
        torch.manual_seed(5)
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.Adam(model.parameters())
        monitor = TrainingMonitor(model, optimizer, emit=lambda _: None, every=2) if is_monitored else None
        for _ in range(10):
            model(torch.randn(3, 4)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            if monitor is not None:
                monitor.step()
        return [p.detach().clone() for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(False), weights(True), strict=True))


def test_the_hook_is_gone_after_the_end() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    TrainingMonitor(model, optimizer, emit=lambda _: None).close()

    assert not optimizer._optimizer_step_pre_hooks


def test_the_loss_scale_is_reported() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    events: list[Event] = []
    monitor = TrainingMonitor(model, optimizer, emit=events.append, scaler=scaler, every=2)
    for _ in range(2):
        scaler.scale(model(torch.ones(1, 2)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        monitor.step()
    monitor.close()

    assert [state.loss_scale for state in of_type(events, AmpState)] == [8.0]
    gradients = of_type(events, GradientStats)
    assert gradients[0].norm == pytest.approx(3**0.5), "the hook sees unscaled gradients"


def test_a_device_that_is_not_there_is_told_as_faults_and_training_goes_on() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    events: list[Event] = []
    monitor = train(10, events, every=5, device="cuda:0")

    faults = {(event.sensor, event.reason): event.count for event in of_type(events, SensorFault)}
    assert monitor.steps == 10
    assert faults[("timing", "no_device")] == 1
    assert faults[("gradients", "no_device")] == 1
    assert faults[("allocator", "no_device")] == 1


def test_a_report_every_zero_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="every=0: the number of steps between two reports must be 1 or more"):
        TrainingMonitor(torch.nn.Linear(1, 1), emit=lambda _: None, every=0)


def test_compiler_figures_are_told_when_they_change() -> None:
    torch._dynamo.reset()
    events: list[Event] = []
    model = torch.nn.Linear(2, 1)
    compiled = torch.compile(model, backend="eager")
    monitor = TrainingMonitor(model, emit=events.append, every=1)
    for _ in range(3):
        compiled(torch.ones(2, 2))
        monitor.step()
    monitor.close()

    assert len(of_type(events, CompilerStats)) == 1
    last = of_type(events, InfrastructureSnapshot)[-1]
    assert last.compile_graph_breaks == of_type(events, CompilerStats)[0].graph_breaks


def test_the_documented_ten_lines_are_those_of_the_example() -> None:
    """The page shows the example's loop; it must not drift."""
    page = (ROOT / "docs" / "guides" / "sensors.md").read_text(encoding="utf-8")
    example = (ROOT / "examples" / "plain_pytorch.py").read_text(encoding="utf-8")
    marked = [line.split("  # telemetry")[0].strip() for line in example.splitlines() if line.endswith("# telemetry")]

    assert len(marked) == 11
    missing = [line for line in marked if line.split("(")[0].split(" = ")[-1] not in page]
    assert missing == []


def test_the_example_runs_and_its_metrics_can_be_scraped(tmp_path: Path) -> None:
    """As a person starts it, with the relay that configure() starts; scraped while it lingers."""
    environment = processes.environment(
        ESPER_OTEL_TELEMETRY_DIR=str(tmp_path), ESPER_OTEL_LINGER="300", OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT)
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "plain_pytorch.py"), "--steps", "300"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = (tmp_path / "latest").resolve()
    url = processes.announced_url(run)

    def steps_counted() -> dict[tuple[str, tuple[tuple[str, str], ...]], float] | None:
        found = processes.samples(processes.scrape(url))
        count = sum(v for (name, labels), v in found.items() if name == "tolaria_step_phase_duration_seconds_count")
        return found if count == 4 * 300 else None

    try:
        samples = wait_for(steps_counted, "1,200 passes in /metrics")
    finally:
        pid = (processes.manifest(run).get("relay") or {}).get("pid")
        if pid:
            subprocess.run(["kill", str(pid)], check=False)

    names = {name for name, _ in samples}
    assert {
        "tolaria_gradient_norm_count",
        "tolaria_forward_mean_duration_seconds",
        "tolaria_process_memory_usage_bytes",
        "tolaria_step_phase_unmeasured_total",
    } <= names
