"""Loss scaling, observed on a real scaler."""

from __future__ import annotations

import torch

from esper_otel.sensors.amp import ScalerSensor
from tests.sensors.fake_device import FakeMarks


class Loop:
    """A tiny training loop under a CPU gradient scaler; ``step(True)`` overflows."""

    def __init__(self, growth_interval: int = 2) -> None:
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.optimizer = torch.optim.SGD([self.weight], lr=0.0)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=growth_interval)

    def step(self, overflows: bool = False) -> None:
        self.optimizer.zero_grad()
        loss = (self.weight * (float("inf") if overflows else 1.0)).sum()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


def test_a_scale_that_rises_is_growing() -> None:
    loop = Loop(growth_interval=1)
    sensor = ScalerSensor(loop.scaler)
    for step in (1, 2, 3):
        loop.step()
        sensor.observe(step)
    state = sensor.take()

    assert (state.loss_scale, state.scaler_state, state.scale_changes, state.overflows, state.step) == (
        loop.scaler.get_scale(),
        "growing",
        2,
        0,
        3,
    )


def test_a_scale_that_stays_is_stable() -> None:
    loop = Loop(growth_interval=100)
    sensor = ScalerSensor(loop.scaler)
    for _ in range(3):
        loop.step()
        sensor.observe()
    state = sensor.take()

    assert (state.loss_scale, state.scaler_state, state.scale_changes, state.overflows) == (1024.0, "stable", 0, 0)


def test_every_overflow_is_counted_and_decay_wins_over_growth() -> None:
    loop = Loop(growth_interval=1)
    sensor = ScalerSensor(loop.scaler)
    for overflows in (False, True, True, False, False):
        loop.step(overflows)
        sensor.observe()
    state = sensor.take()

    assert (state.scaler_state, state.overflows, state.scale_changes) == ("decaying", 2, 4)
    assert state.loss_scale == loop.scaler.get_scale()


def test_overflows_between_two_readings_are_inferred_from_the_backoff() -> None:
    loop = Loop(growth_interval=100)
    sensor = ScalerSensor(loop.scaler)
    loop.step()
    sensor.observe()
    for _ in range(3):
        loop.step(overflows=True)
    sensor.observe()

    assert sensor.take().overflows == 3


def test_a_change_across_two_reports_is_not_lost() -> None:
    loop = Loop(growth_interval=100)
    sensor = ScalerSensor(loop.scaler)
    loop.step()
    sensor.observe()
    sensor.take()
    loop.step(overflows=True)
    sensor.observe()

    assert sensor.take().overflows == 1


def test_a_disabled_scaler_has_no_state() -> None:
    sensor = ScalerSensor(torch.amp.GradScaler("cpu", enabled=False))
    sensor.observe()

    assert sensor.take() is None


def test_a_scaler_that_never_scaled_has_no_state() -> None:
    sensor = ScalerSensor(torch.amp.GradScaler("cpu"))
    sensor.observe()

    assert sensor.take() is None


def test_the_scale_is_told_when_the_device_got_there() -> None:
    marks = FakeMarks()
    loop = Loop()
    loop.step()
    sensor = ScalerSensor(loop.scaler, marks=marks)
    marks.current.work(1.0)
    sensor.observe()
    assert sensor.take() is None
    marks.current.run()

    assert sensor.take().loss_scale == 1024.0


def test_a_lost_device_is_a_fault_and_no_exception() -> None:
    marks = FakeMarks()
    loop = Loop()
    loop.step()
    sensor = ScalerSensor(loop.scaler, marks=marks)
    sensor.observe()
    marks.lost = RuntimeError("CUDA error")

    assert sensor.take() is None
    assert sensor.faults.counts == {("amp", "device_lost"): 1}
