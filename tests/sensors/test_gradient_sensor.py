"""Gradient health: figures against an independent computation, and reading that never waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

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


def test_layers_that_no_gradient_reached_are_named() -> None:
    model = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(3)))
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    model(torch.randn(2, 3)).sum().backward()
    sensor = GradientSensor(model.named_parameters())
    sensor.measure()
    (stats,) = sensor.take()

    assert stats.layers_without_gradient == ("0",)
    assert stats.layers_without_gradient_count == 1


def test_a_large_frozen_body_is_counted_and_not_listed() -> None:
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(41)))
    model[:40].requires_grad_(False)
    model(torch.randn(2, 2)).sum().backward()
    sensor = GradientSensor(model.named_parameters())
    sensor.measure()
    (stats,) = sensor.take()

    assert stats.layers_without_gradient == tuple(str(number) for number in range(16))
    assert stats.layers_without_gradient_count == 40


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


def test_sparse_gradients_are_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    embedding = torch.nn.Embedding(10, 3, sparse=True)
    linear = torch.nn.Linear(3, 1)
    linear(embedding(torch.tensor([1, 2]))).sum().backward()
    sensor = GradientSensor([("embedding.weight", embedding.weight), ("linear.weight", linear.weight)])
    sensor.measure()
    (stats,) = sensor.take()

    assert list(stats.norm_per_layer) == ["linear"]
    assert "embedding.weight is skipped: its gradient is torch.sparse_coo on cpu" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-5, 1e155, 1e300])
def test_a_double_precision_gradient_of_any_size_is_measured(size: float) -> None:
    entries = 2**20 + 5  # more than one chunk
    sensor = GradientSensor([("a", parameter(torch.full((entries,), size, dtype=torch.float64)))])
    sensor.measure()
    (stats,) = sensor.take()

    assert stats.norm == pytest.approx(size * math.sqrt(entries), rel=1e-9)
    assert (stats.zero_fraction, stats.nonfinite_layer_count) == (0.0, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_entry_among_double_precision_ones_is_seen(bad: float) -> None:
    gradient = torch.ones(4, dtype=torch.float64)
    gradient[1] = bad
    sensor = GradientSensor([("a", parameter(gradient)), ("b", parameter(torch.zeros(2, dtype=torch.float64)))])
    sensor.measure()
    (stats,) = sensor.take()

    assert ("a",) == stats.nonfinite_layers
    assert 0.0 == stats.norm_per_layer["b"]


def fake(gradient: torch.Tensor) -> torch.Tensor:
    with FakeTensorMode() as mode:
        found: torch.Tensor = mode.from_tensor(gradient)
    return found


@pytest.mark.parametrize("make", [fake, lambda gradient: gradient.to("meta")], ids=["fake", "meta"])
def test_a_gradient_without_values_costs_its_own_layer_alone(
    capsys: pytest.CaptureFixture[str], make: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    named = [("a.weight", parameter(PLAIN.clone())), ("b.weight", WithGradient(make(torch.ones(4))))]
    sensor = GradientSensor(named)  # type: ignore[arg-type]  # as a wrapper gives it
    for step in range(2):
        sensor.measure(step)

    assert [["a"], ["a"]] == [list(stats.norm_per_layer) for stats in sensor.take()]
    assert {("gradients", "unsupported"): 1} == sensor.faults.counts
    assert "b.weight is skipped: " in capsys.readouterr().err


class WithGradient:
    """A parameter whose gradient is elsewhere, as wrappers that offload have it."""

    def __init__(self, gradient: torch.Tensor) -> None:
        self.grad = gradient
        self.device = torch.device("cpu")


def test_a_loss_scale_may_be_a_plain_number() -> None:
    sensor = GradientSensor([("a", parameter(torch.full((4,), 8.0)))])
    sensor.measure(scale=4.0)
    (stats,) = sensor.take()

    assert 4.0 == stats.norm


def parameter(gradient: torch.Tensor) -> torch.nn.Parameter:
    found = torch.nn.Parameter(torch.zeros_like(gradient))
    found.grad = gradient
    return found


PLAIN = torch.ones(4)


@pytest.mark.parametrize(
    ("odd", "square"),
    [
        (3 * torch.ones(4, dtype=torch.float64), 36),
        (3 * torch.ones(4, dtype=torch.bfloat16), 36),
        (3 * torch.ones(4, dtype=torch.float16), 36),
        ((3 + 4j) * torch.ones(4, dtype=torch.complex64), 100),
        ((3 + 4j) * torch.ones(4, dtype=torch.complex128), 100),
        ((3 + 4j) * torch.ones(4, dtype=torch.complex64).conj(), 100),
        (3 * torch.ones(2, 4)[:, ::2], 36),
        (torch.ones(0), 0),
        (torch.tensor(6.0), 36),
        (torch.full((4,), 3.0).to(torch.float8_e4m3fn), 36),
        (torch.full((4,), 3.0).to(torch.float8_e5m2), 36),
    ],
    ids=lambda value: f"{value.dtype} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else "",
)
def test_a_gradient_of_another_kind_is_measured_beside_the_usual_ones(odd: torch.Tensor, square: float) -> None:
    sensor = GradientSensor([("a.weight", parameter(PLAIN.clone())), ("b.weight", parameter(odd))])
    for step in range(2):
        sensor.measure(step)
    first, second = sensor.take()

    assert first.norm == second.norm == pytest.approx(math.sqrt(4 + square))
    assert first.zero_fraction == 0.0
    assert sensor.faults.counts == {}


def test_norms_beyond_single_precision_are_measured() -> None:
    sensor = GradientSensor([("a", parameter(torch.full((4,), 1e150, dtype=torch.float64))), ("b", parameter(PLAIN))])
    sensor.measure()
    (stats,) = sensor.take()

    assert stats.norm == pytest.approx(2e150)
    assert stats.nonfinite_layer_count == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_gradient_is_added_up_to_its_end(threads: int) -> None:
    entries, before = 2**25 + 12_345, torch.get_num_threads()
    gradient = torch.ones(entries)
    gradient[: entries // 4] = 0.0
    sensor = GradientSensor([("emb.weight", parameter(gradient))])
    torch.set_num_threads(threads)
    try:
        sensor.measure()
    finally:
        torch.set_num_threads(before)
    (stats,) = sensor.take()

    assert stats.norm == pytest.approx(math.sqrt(entries - entries // 4), rel=1e-9)
    assert stats.zero_fraction == pytest.approx(0.25, rel=1e-6)


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_of_a_dtensor_the_part_that_this_rank_holds_is_measured(mesh: DeviceMesh) -> None:
    parts = [distribute_tensor(torch.full((4,), 3.0), mesh, [placement]) for placement in (Shard(0), Replicate())]
    summand = DTensor.from_local(torch.full((4,), 3.0), mesh, [Partial()])
    named = [("a", PLAIN.clone()), ("b", parts[0]), ("c", parts[1]), ("d", summand)]
    sensor = GradientSensor([(name, parameter(gradient)) for name, gradient in named])
    sensor.measure()
    (stats,) = sensor.take()

    assert stats.norm_per_layer == {"a": pytest.approx(2.0), "b": pytest.approx(6.0), "c": pytest.approx(6.0)}
    assert sensor.faults.counts == {}


def test_a_gradient_that_torch_cannot_measure_costs_its_own_layer_alone(capsys: pytest.CaptureFixture[str]) -> None:
    odd = parameter(torch.ones(4))
    odd.grad = Stubborn(torch.ones(4))
    sensor = GradientSensor([("a.weight", parameter(PLAIN.clone())), ("odd.weight", odd)])
    for step in range(3):
        sensor.measure(step)

    assert [list(stats.norm_per_layer) for stats in sensor.take()] == [["a"]] * 3
    assert sensor.faults.counts == {("gradients", "unsupported"): 1}
    assert "odd.weight is skipped: not by me" in capsys.readouterr().err


class Stubborn(torch.Tensor):
    """A tensor class that knows no reduction."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "norm" in getattr(func, "__name__", "") or "nonzero" in getattr(func, "__name__", ""):
            raise TypeError("not by me")
        return super().__torch_function__(func, types, args, kwargs or {})


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
