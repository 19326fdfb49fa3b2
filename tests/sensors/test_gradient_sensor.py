"""Gradient health: figures against an independent computation, and reading that never waits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from esper_otel.sensors import GradientSensor
from esper_otel.sensors.deferred import DeferredReader
from tests.sensors.fake_device import FakeMarks


def model_with_gradients() -> torch.nn.Module:
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2))
    model(torch.randn(4, 5)).square().sum().backward()
    return model


def test_norms_by_layer_are_those_of_numpy() -> None:
    model = model_with_gradients()
    sensor = GradientSensor(model.named_parameters())
    sensor.measure(step=12)
    (stats,) = sensor.take()

    def norm_of(*names: str) -> float:
        parameters = dict(model.named_parameters())
        return float(np.linalg.norm(np.concatenate([parameters[n].grad.numpy().ravel() for n in names])))

    assert stats.step == 12
    assert stats.norm_per_layer == {
        "0": pytest.approx(norm_of("0.weight", "0.bias"), rel=1e-5),
        "2": pytest.approx(norm_of("2.weight", "2.bias"), rel=1e-5),
    }
    assert stats.norm == pytest.approx(norm_of("0.weight", "0.bias", "2.weight", "2.bias"), rel=1e-5)
    values = list(stats.norm_per_layer.values())
    assert stats.norm_spread == pytest.approx(max(values) / min(values))


def test_the_zero_fraction_counts_entries_and_names_dead_layers() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False))
    for index, value in ((0, 1.0), (1, 0.0)):
        model[index].weight.grad = torch.full((4, 4), value)
    model[0].weight.grad[0, :2] = 0.0
    model[1].weight.grad[0, 0] = 1.0
    sensor = GradientSensor(model.named_parameters())
    sensor.measure()
    (stats,) = sensor.take()

    assert stats.zero_fraction_per_layer == {"0": pytest.approx(2 / 16), "1": pytest.approx(15 / 16)}
    assert stats.zero_fraction == pytest.approx(17 / 32)
    assert stats.dead_layer_count == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_layer_with_a_non_finite_entry_is_named(bad: float) -> None:
    model = model_with_gradients()
    model[2].bias.grad[1] = bad
    sensor = GradientSensor(model.named_parameters())
    sensor.measure()
    (stats,) = sensor.take()

    assert stats.nonfinite_layers == ("2",)
    assert stats.nonfinite_layer_count == 1
    assert not math.isfinite(stats.norm)
    assert math.isfinite(stats.norm_per_layer["0"])


def test_the_norm_of_half_precision_gradients_does_not_overflow() -> None:
    weight = torch.nn.Parameter(torch.zeros(100, dtype=torch.float16))
    weight.grad = torch.full((100,), 60_000.0, dtype=torch.float16)
    sensor = GradientSensor([("w", weight)])
    sensor.measure()
    (stats,) = sensor.take()

    assert stats.norm == pytest.approx(599_808.0, rel=1e-3)
    assert stats.nonfinite_layer_count == 0


def test_gradients_that_carry_a_loss_scale_are_divided_by_it() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.full((4,), 1024.0)
    sensor = GradientSensor([("w", weight)])
    sensor.measure(scale=torch.tensor(512.0))
    (stats,) = sensor.take()

    assert stats.norm == pytest.approx(4.0)


def test_a_measurement_is_told_of_when_the_device_got_there_and_not_before() -> None:
    marks = FakeMarks()
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    sensor = GradientSensor([("w", weight)], marks=marks)
    marks.current.work(1.0)
    sensor.measure(step=1)
    assert sensor.take() == []
    marks.current.run()

    assert [stats.norm for stats in sensor.take()] == [5.0]


def test_measurements_beyond_the_slots_are_dropped_and_counted() -> None:
    marks = FakeMarks()
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    sensor = GradientSensor([("w", weight)], marks=marks)
    marks.current.work(1.0)
    for step in range(6):
        sensor.measure(step)
    marks.current.run()

    assert [stats.step for stats in sensor.take()] == [0, 1, 2, 3]
    assert sensor.dropped == 2


def test_parameters_without_a_gradient_are_left_out() -> None:
    model = model_with_gradients()
    model[0].weight.grad = model[0].bias.grad = None
    sensor = GradientSensor(model.named_parameters())
    sensor.measure()
    (stats,) = sensor.take()

    assert list(stats.norm_per_layer) == ["2"]


def test_a_model_without_any_gradient_is_no_measurement() -> None:
    sensor = GradientSensor(torch.nn.Linear(2, 2).named_parameters())
    sensor.measure()

    assert sensor.take() == []


def test_sparse_gradients_are_left_out() -> None:
    embedding = torch.nn.Embedding(10, 3, sparse=True)
    linear = torch.nn.Linear(3, 1)
    linear(embedding(torch.tensor([1, 2]))).sum().backward()
    sensor = GradientSensor([("embedding.weight", embedding.weight), ("linear.weight", linear.weight)])
    sensor.measure()
    (stats,) = sensor.take()

    assert list(stats.norm_per_layer) == ["linear"]


def test_a_lost_device_ends_the_measuring_without_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    marks = FakeMarks()
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    sensor = GradientSensor([("w", weight)], marks=marks)
    sensor.measure(1)
    marks.lost = RuntimeError("CUDA error: the device is gone")

    assert sensor.take() == []
    sensor.measure(2)
    assert sensor.faults.counts == {("gradients", "device_lost"): 1}
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_measuring_changes_no_gradient() -> None:
    model = model_with_gradients()
    before = [p.grad.clone() for p in model.parameters()]
    GradientSensor(model.named_parameters()).measure()

    assert all(torch.equal(b, p.grad) for b, p in zip(before, model.parameters(), strict=True))


def test_a_copy_holds_the_values_of_its_moment() -> None:
    reader: DeferredReader[str] = DeferredReader(torch.device("cpu"), 2)
    values = torch.tensor([1.0, 2.0])
    reader.put("first", values)
    values += 10
    reader.put("second", values)

    assert reader.take() == [("first", [1.0, 2.0]), ("second", [11.0, 12.0])]
