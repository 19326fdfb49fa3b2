"""The GPUs that a training process sees: CUDA_VISIBLE_DEVICES, and instances of MIG."""

from __future__ import annotations

import pytest

from esper_otel.relay.gpu.devices import visible_gpus
from esper_otel.signals import hardware as hw
from tests.sensors.fake_nvml import FakeGpu, FakeLibrary, FakeMig, driver
from tests.sensors.sampled_gpus import sampled, sampler_over, values

FOUR = ["GPU-a0", "GPU-b1", "GPU-b2", "GPU-c3"]


def visible(environ: dict[str, str], gpus: list[FakeGpu] | None = None, said: list[str] | None = None) -> list[str]:
    library = FakeLibrary(gpus if gpus is not None else [FakeGpu(uuid) for uuid in FOUR])
    with driver(library):
        sampler = sampler_over(said)
        sampler._calls.open()
        found = visible_gpus(sampler._calls, environ, (said if said is not None else []).append)
    return [f"{gpu.device or '-'}={gpu.uuid}" for gpu in found]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("2", ["GPU-b2"]),
        ("3,0", ["GPU-c3", "GPU-a0"]),
        (" 1 , 2 ", ["GPU-b1", "GPU-b2"]),
        ("GPU-c", ["GPU-c3"]),
        ("GPU-b", []),
        ("0,GPU-c3,7,1", ["GPU-a0", "GPU-c3"]),
        ("1,-1,2", ["GPU-b1"]),
        ("1,1,2", ["GPU-b1"]),
        ("nonsense", []),
    ],
)
def test_cuda_visible_devices_means_what_cuda_takes_it_for(value: str, expected: list[str]) -> None:
    named = [f"cuda:{index}={uuid}" for index, uuid in enumerate(expected)]

    assert visible({"CUDA_VISIBLE_DEVICES": value}) == named


def test_without_the_variable_every_gpu_is_visible() -> None:
    assert visible({}) == ["cuda:0=GPU-a0", "cuda:1=GPU-b1", "cuda:2=GPU-b2", "cuda:3=GPU-c3"]


def test_all_gpus_of_the_node_can_be_asked_for() -> None:
    found = visible({"CUDA_VISIBLE_DEVICES": "2", "ESPER_OTEL_GPUS": "all"})

    assert found == ["cuda:0=GPU-b2", "-=GPU-a0", "-=GPU-b1", "-=GPU-c3"]


def test_numbers_over_different_models_need_the_bus_order() -> None:
    gpus = [FakeGpu("GPU-a", name="NVIDIA T4"), FakeGpu("GPU-b")]
    said: list[str] = []
    visible({"CUDA_VISIBLE_DEVICES": "0"}, gpus, said)
    quiet: list[str] = []
    visible({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, gpus, quiet)

    assert ["CUDA_DEVICE_ORDER=PCI_BUS_ID" in line for line in said] == [True]
    assert quiet == []


def test_a_mig_instance_is_the_device_and_its_gpu_stands_beside_it() -> None:
    gpu = FakeGpu("GPU-a", mig=[FakeMig("MIG-1", 3), FakeMig("MIG-2", 5)])

    assert visible({"CUDA_VISIBLE_DEVICES": "MIG-2"}, [gpu]) == ["cuda:0=MIG-2", "-=GPU-a"]
    assert visible({}, [gpu]) == ["cuda:0=MIG-1", "-=GPU-a"]


def test_a_mig_instance_has_its_own_memory_and_activity_and_its_gpu_the_power() -> None:
    mig = FakeMig("MIG-1", 3, total_bytes=8 * 2**30, used_bytes=2 * 2**30, gpm={2: 12.0})
    points = sampled(FakeLibrary([FakeGpu("GPU-a", mig=[mig])]), environ={"CUDA_VISIBLE_DEVICES": "MIG-1"})

    assert values(points, hw.MEMORY_UTILIZATION, "cuda:0") == {(): 0.25}
    assert values(points, hw.ACTIVITY, "cuda:0") == {("sm",): pytest.approx(0.12)}
    assert {key[0] for key in points[hw.POWER]} == {"GPU-a"}
