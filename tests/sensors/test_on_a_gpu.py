"""The same sensors on a real device; skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from esper_otel.events import Event, SensorFault, TrainingUpdate
from esper_otel.sensors import AllocatorSensor, GradientSensor, PhaseTimer, ScalerSensor, TrainingMonitor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def no_synchronisation() -> Iterator[None]:
    """Every synchronising call of torch is an error inside."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def spin(milliseconds: float) -> None:
    """Keep the device busy, by its own clock of about 1 to 2 GHz."""
    torch.cuda._sleep(int(milliseconds * 1_500_000))


@pytest.mark.usefixtures("no_synchronisation")
def test_timing_synchronises_nothing_and_orders_phases_by_their_work() -> None:
    timer = PhaseTimer("cuda")
    for _ in range(20):
        with timer.phase("step"):
            with timer.phase("short"):
                spin(1)
            with timer.phase("long"):
                spin(5)
        timer.harvest()
    torch.cuda.set_sync_debug_mode("default")
    with timer.phase("last"):
        spin(1)
    torch.cuda.synchronize()
    found = timer.harvest()

    assert found["long"][-1] > 3 * found["short"][-1]
    assert found["step"][-1] >= found["short"][-1] + found["long"][-1]


@pytest.mark.parametrize("is_fused", [False, True])
def test_every_update_has_the_norm_that_the_clip_returned_and_nothing_synchronises(is_fused: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=is_fused)
    inputs = torch.randn(32, 64, device="cuda")
    events: list[Event] = []
    monitor = TrainingMonitor(model, optimizer, emit=events.append, every=10)
    returned = []
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(55):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            returned.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01))
            optimizer.step()
            monitor.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    monitor.close()

    updates = [event for event in events if isinstance(event, TrainingUpdate)]
    assert [u.pre_clip_grad_norm for u in updates] == pytest.approx([float(norm) for norm in returned], rel=1e-6)
    assert [event for event in events if isinstance(event, SensorFault) and event.sensor == "updates"] == []


def test_a_phase_measures_its_own_stream() -> None:
    timer = PhaseTimer("cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side), timer.phase("side"):
        spin(5)
    with timer.phase("main"):
        pass
    torch.cuda.synchronize()
    found = timer.harvest()

    assert found["side"][0] > 1e-3
    assert found["main"][0] < 1e-3


def test_a_graph_can_be_captured_through_timed_code_and_its_replay_timed() -> None:
    timer = PhaseTimer("cuda")
    x = torch.ones(512, 512, device="cuda")

    def step() -> torch.Tensor:
        with timer.phase("inner"):
            return x @ x

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    timer.harvest()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
        timer.harvest()
    with timer.phase("replay"):
        graph.replay()
    torch.cuda.synchronize()

    assert set(timer.harvest()) == {"replay"}
    assert timer.unmeasured == {"capture": 1}


@pytest.mark.usefixtures("no_synchronisation")
def test_gradients_and_scaler_are_read_without_synchronising() -> None:
    torch.cuda.set_sync_debug_mode("default")
    weight = torch.nn.Parameter(torch.ones(4, device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scaler = torch.amp.GradScaler("cuda", init_scale=64.0, growth_interval=1)
    gradients, scaling = GradientSensor([("w", weight)]), ScalerSensor(scaler)
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    scaling.observe(0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    gradients.measure(1)
    scaling.observe(1)
    gradients.take()
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()

    gradients.measure(2)
    torch.cuda.synchronize()
    assert gradients.take()[-1].norm == pytest.approx(2.0)
    assert scaling.take().loss_scale == 128.0


def test_the_allocator_shows_a_leak() -> None:
    sensor = AllocatorSensor("cuda")
    sensor.take()
    kept = torch.ones(2**20, device="cuda")
    found = sensor.take()

    assert found.allocated_delta_bytes == kept.numel() * 4
    assert found.reserved_bytes >= found.allocated_bytes
