"""Sensors that read what the host keeps: allocator, utilisation, snapshot; and how faults are told."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from esper_otel.events import CompilerStats
from esper_otel.sensors import AllocatorSensor, Faults, PhaseSummary, UtilizationProbe, snapshot
from tests.waiting import PATIENCE_S, own_time_s, wait_for

GIB = 2**30


def memory_stats(allocated: int, reserved: int = 8 * GIB) -> dict[str, int]:
    """The keys of ``torch.cuda.memory_stats`` that are read."""
    return {
        "allocated_bytes.all.current": allocated,
        "allocated_bytes.all.peak": 6 * GIB,
        "reserved_bytes.all.current": reserved,
        "active_bytes.all.current": 5 * GIB,
        "inactive_split_bytes.all.current": GIB,
        "num_alloc_retries": 2,
        "num_ooms": 1,
    }


def test_the_allocator_is_told_with_its_change_since_the_last_reading() -> None:
    readings = iter([memory_stats(4 * GIB), memory_stats(5 * GIB)])
    sensor = AllocatorSensor("cuda:1", read=lambda _: next(readings))
    first, second = sensor.take(7), sensor.take(8)

    assert (first.device, first.batch_idx, first.allocated_delta_bytes) == ("cuda:1", 7, None)
    assert (second.allocated_bytes, second.reserved_bytes, second.fragmentation_bytes) == (5 * GIB, 8 * GIB, 3 * GIB)
    assert (second.allocated_delta_bytes, second.peak_bytes, second.num_ooms) == (GIB, 6 * GIB, 1)
    assert (second.active_bytes, second.inactive_bytes, second.num_alloc_retries) == (5 * GIB, GIB, 2)


def test_a_cpu_has_no_allocator_and_that_is_no_fault() -> None:
    sensor = AllocatorSensor("cpu")

    assert sensor.take() is None
    assert sensor.faults.counts == {}


def test_an_allocator_that_cannot_be_read_is_a_fault_once() -> None:
    def lost(_: torch.device) -> dict[str, int]:
        raise RuntimeError("CUDA error")

    sensor = AllocatorSensor("cuda:0", read=lost)

    assert [sensor.take(), sensor.take()] == [None, None]
    assert sensor.faults.counts == {("allocator", "unreadable"): 1}


def test_a_snapshot_combines_what_the_sensors_read() -> None:
    sensor = AllocatorSensor("cuda:0", read=lambda _: memory_stats(4 * GIB))
    sensor.take()
    found = snapshot(
        "cuda:0",
        batch=30,
        window=10,
        phases={"forward": PhaseSummary(4, 0.2, 0.01, 0.09), "other": PhaseSummary(1, 1.0, 1.0, 1.0)},
        allocator=sensor.take(),
        compiler=CompilerStats(
            graph_breaks=3, recompilations=2, cache_hits={"inductor": 4, "dynamo": 1}, cache_misses={"inductor": 6}
        ),
        utilization=(88.0, 35.0),
    )

    assert (found.batch_idx, found.batch_window) == (30, 10)
    assert found.avg_forward_time_ms == pytest.approx(50.0)
    assert found.avg_backward_time_ms is None
    assert (found.cuda_memory_allocated_gb, found.cuda_memory_reserved_gb) == (4.0, 8.0)
    assert (found.cuda_memory_fragmentation, found.memory_allocated_delta_gb) == (0.5, 0.0)
    assert (found.compile_graph_breaks, found.compile_recompilations, found.dynamo_guard_failures) == (3, 2, 2)
    assert (found.compile_cache_hits, found.compile_cache_misses) == (5, 6)
    assert (found.gpu_utilization_pct, found.gpu_memory_bandwidth_pct) == (88.0, 35.0)


def test_every_field_of_the_plan_is_filled_when_every_sensor_reads() -> None:
    sensor = AllocatorSensor("cuda:0", read=lambda _: memory_stats(4 * GIB))
    sensor.take()
    summary = PhaseSummary(1, 0.1, 0.1, 0.1)
    found = snapshot(
        "cuda:0",
        batch=1,
        window=1,
        phases=dict.fromkeys(("forward", "backward", "optimizer_step", "data_transfer"), summary),
        allocator=sensor.take(),
        compiler=CompilerStats(graph_breaks=0, recompilations=0, cache_hits={}, cache_misses={}),
        utilization=(1.0, 1.0),
    )

    assert [name for name in found.__struct_fields__ if getattr(found, name) is None] == []


def test_utilisation_is_read_beside_training() -> None:
    probe = UtilizationProbe("cuda:0", read=lambda _: (75.0, 20.0))
    assert probe.latest is None
    probe.request()
    wait_for(lambda: probe.latest is not None, "the reading")

    assert probe.latest == (75.0, 20.0)


def test_a_driver_that_hangs_is_asked_once_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    release = threading.Event()
    asked: list[int] = []

    def hang(_: torch.device) -> tuple[float, float]:
        asked.append(1)
        release.wait(PATIENCE_S)
        return 1.0, 1.0

    probe = UtilizationProbe("cuda:0", read=hang, hangs_after_s=0.05)
    started = own_time_s()
    probe.request()
    took_s = own_time_s() - started
    time.sleep(0.1)
    probe.request()
    probe.request()
    release.set()
    assert probe._thread is not None
    probe._thread.join(PATIENCE_S)

    assert took_s < 0.5
    assert len(asked) == 1
    assert set(probe.faults.counts) == {("utilization", "hanging")}
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_library_for_utilisation_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: torch.device) -> tuple[float, float]:
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")

    probe = UtilizationProbe("cuda:0", read=missing)
    probe.request()
    assert probe._thread is not None
    probe._thread.join(PATIENCE_S)  # it counts first and prints then, which the next test must not see
    probe.request()

    assert probe.faults.counts == {("utilization", "no_library"): 1}
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_faults_are_printed_once_counted_always_and_drained_as_events(capsys: pytest.CaptureFixture[str]) -> None:
    faults = Faults()
    for _ in range(3):
        faults.note("timing", "device_lost", "the device is gone\nand more text")
    faults.note("amp", "device_lost", "another")
    first, second = faults.drain()

    assert (first.sensor, first.reason, first.count, first.detail) == ("timing", "device_lost", 3, "the device is gone")
    assert second.count == 1
    assert faults.drain() == []
    assert faults.counts[("timing", "device_lost")] == 3
    assert capsys.readouterr().err.splitlines() == [
        "esper_otel: sensor timing unavailable (device_lost): the device is gone",
        "esper_otel: sensor amp unavailable (device_lost): another",
    ]
