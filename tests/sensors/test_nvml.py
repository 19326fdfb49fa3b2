"""The NVML sampler over the real binding and an imitation of the driver's library beneath it."""

from __future__ import annotations

import os
import threading
import time

import pytest

from esper_otel.events import XidError
from esper_otel.relay.gpu.calls import Calls
from esper_otel.signals import hardware as hw
from esper_otel.signals.own_signal import OwnSignal
from tests.sensors.fake_nvml import LOST, FakeGpu, FakeLibrary, driver
from tests.sensors.sampled_gpus import NAME, points_when, sampled, sampler_over, values
from tests.waiting import PATIENCE_S, own_time_s


def test_figures_are_in_base_units() -> None:
    points = sampled(FakeLibrary([FakeGpu("GPU-aaaa")]))

    assert {("GPU-aaaa", NAME, "gpu", "cuda:0", "general"): 0.87} == points[hw.UTILIZATION]
    assert values(points, hw.MEMORY_BUSY) == {(): pytest.approx(0.41)}
    assert values(points, hw.MEMORY_LIMIT) == {(): 81_559 * 2**20}
    assert values(points, hw.MEMORY_USAGE) == {(): 20_000 * 2**20}
    assert values(points, hw.MEMORY_UTILIZATION) == {(): pytest.approx(20_000 / 81_559)}
    assert values(points, hw.POWER) == {(): pytest.approx(612.345)}
    assert values(points, hw.POWER_LIMIT) == {(): pytest.approx(700.0)}
    assert values(points, hw.ENERGY) == {(): pytest.approx(1000.0)}
    assert values(points, hw.TEMPERATURE) == {("gpu_core",): 61, ("memory",): 74}
    assert values(points, hw.TEMPERATURE_LIMIT) == {("high.degraded",): 90, ("high.critical",): 95}
    assert values(points, hw.CLOCK)[("sm",)] == pytest.approx(1.98e9)
    assert values(points, hw.VIOLATION_TIME) == {("power",): pytest.approx(2.5), ("thermal",): 0.0}
    assert values(points, hw.ERRORS) == {("corrected",): 3, ("uncorrected",): 0, ("pcie_replay",): 5}
    assert values(points, hw.REMAPPED_ROWS) == {("corrected",): 1, ("uncorrected",): 0}
    assert values(points, hw.PCIE_RATE) == {("transmit",): 1_024_000, ("receive",): 2_048_000}
    assert values(points, hw.IO) == {("transmit",): 123_456, ("receive",): 654_321}
    assert values(points, hw.STATUS) == {("ok",): 1, ("degraded",): 0, ("failed",): 0}
    assert values(points, hw.PCIE_GENERATION) == {(): 5}


def test_what_a_gpu_does_not_have_is_absent_and_asked_for_once() -> None:
    library = FakeLibrary([FakeGpu("GPU-a", failing={"nvmlDeviceGetRemappedRows": 3, "nvmlDeviceGetPowerUsage": 3})])
    with driver(library):
        sampler = sampler_over()
        sampler.start()
        points_when(sampler, lambda _: library.calls.count("nvmlDeviceGetUtilizationRates") >= 4)
        points = sampler.points()
        sampler.stop()

    assert points.get(hw.POWER, {}) == {}
    assert points[hw.NVLINK_IO] == {}
    assert library.calls.count("nvmlDeviceGetPowerUsage") == 1
    assert points[hw.FAULTS][("nvmlDeviceGetPowerUsage", "not_supported")] == 1


def test_nvlink_counts_bytes_over_all_links() -> None:
    points = sampled(FakeLibrary([FakeGpu("GPU-a", nvlink_kib=(10, 20))]))

    assert values(points, hw.NVLINK_IO) == {("transmit",): 10_240, ("receive",): 20_480}


def test_activity_compares_two_samples_and_is_a_share_of_the_peak() -> None:
    gpm = {2: 91.5, 3: 40.0, 5: 63.0, 10: 55.0}
    points = sampled(FakeLibrary([FakeGpu("GPU-a", gpm=gpm)]))

    assert values(points, hw.ACTIVITY) == {
        ("sm",): pytest.approx(0.915),
        ("sm_occupancy",): pytest.approx(0.40),
        ("tensor",): pytest.approx(0.63),
        ("dram",): pytest.approx(0.55),
    }


def test_throttling_adds_up_the_time_of_each_reason() -> None:
    gpu = FakeGpu("GPU-a", reasons=0b100)
    with driver(FakeLibrary([gpu])):
        sampler = sampler_over()
        sampler.start()
        points_when(sampler, lambda p: values(p, hw.THROTTLE_TIME).get(("sw_power_cap",), 0) > 0.1)
        gpu.reasons = 0
        time.sleep(0.1)
        before = values(sampler.points(), hw.THROTTLE_TIME)
        time.sleep(0.15)
        after = values(sampler.points(), hw.THROTTLE_TIME)
        sampler.stop()

    assert before == after
    assert after[("hw_thermal",)] == 0.0


def test_xid_errors_are_counted_from_zero_and_told_one_by_one() -> None:
    told: list[XidError] = []
    library = FakeLibrary([FakeGpu("GPU-a"), FakeGpu("GPU-b")])
    with driver(library):
        sampler = sampler_over(on_xid=told.append)
        sampler.start()
        first = points_when(sampler, lambda p: bool(p.get(hw.XID_ERRORS)))
        library.xids += [(1, 79), (1, 79), (1, 777)]
        points = points_when(sampler, lambda p: values(p, hw.XID_ERRORS, "cuda:1").get(("other",), 0) > 0)
        sampler.stop()

    assert values(first, hw.XID_ERRORS, "cuda:1")[("79",)] == 0
    assert values(points, hw.XID_ERRORS, "cuda:1")[("79",)] == 2
    assert values(points, hw.LAST_XID, "cuda:1") == {(): 777}
    assert values(points, hw.XID_ERRORS, "cuda:0")[("79",)] == 0
    assert [(e.device, e.xid, e.meaning) for e in told] == [
        ("cuda:1", 79, "GPU has fallen off the bus"),
        ("cuda:1", 79, "GPU has fallen off the bus"),
        ("cuda:1", 777, None),
    ]


def test_the_run_and_its_neighbours_are_told_apart() -> None:
    me, parent = os.getpid(), os.getppid()
    gpu = FakeGpu("GPU-a", processes={me: 3 * 2**30, parent: 2**30}, samples=[(me, 10, 60), (parent, 10, 25)])
    points = sampled(FakeLibrary([gpu]))

    assert values(points, hw.PROCESS_MEMORY) == {("run",): 3 * 2**30, ("others",): 2**30}
    assert values(points, hw.PROCESS_UTILIZATION) == {("run",): pytest.approx(0.6), ("others",): pytest.approx(0.25)}


@pytest.mark.parametrize("whose", [os.getpid(), os.getppid()], ids=["the run", "a neighbour"])
def test_what_the_driver_does_not_know_of_a_process_is_absent_and_not_zero(whose: int) -> None:
    processes = dict.fromkeys((os.getpid(), os.getppid()), 2**30) | {whose: 2**64 - 1}
    gpu = FakeGpu("GPU-a", processes=processes, samples=[(os.getpid(), 10, 60), (whose, 10, 2**32 - 1)])
    points = sampled(FakeLibrary([gpu]))

    assert points.get(hw.PROCESS_MEMORY, {}) == {}
    assert points.get(hw.PROCESS_UTILIZATION, {}) == {}


@pytest.mark.parametrize("unknown", [2**32 - 1, 2**64 - 1, None])
def test_a_number_by_which_the_driver_says_that_it_does_not_know_is_no_number(unknown: int | None) -> None:
    said: list[str] = []
    calls = Calls(said.append)

    assert calls.number("nvmlDeviceGetPcieReplayCounter", unknown, 0, 2.0**64) is None
    assert calls.number("nvmlDeviceGetPcieReplayCounter", 2**32 - 2, 0, 2.0**64) == 2**32 - 2
    assert calls.faults == {("nvmlDeviceGetPcieReplayCounter", "not_available"): 1}
    assert said == []


def test_process_numbers_of_another_namespace_say_nothing() -> None:
    points = sampled(FakeLibrary([FakeGpu("GPU-a", processes={2**22 + 5: 2**30})]))

    assert points.get(hw.PROCESS_MEMORY, {}) == {}


def test_a_gpu_that_asks_for_a_reset_is_degraded_and_a_lost_one_failed() -> None:
    lost = FakeGpu("GPU-b", failing=dict.fromkeys(("nvmlDeviceGetPowerUsage", "nvmlDeviceGetFieldValues"), LOST))
    said: list[str] = []
    points = sampled(FakeLibrary([FakeGpu("GPU-a", recovery=1), lost]), said)

    assert values(points, hw.STATUS, "cuda:0") == {("ok",): 0, ("degraded",): 1, ("failed",): 0}
    assert values(points, hw.STATUS, "cuda:1") == {("ok",): 0, ("degraded",): 0, ("failed",): 1}
    assert len([line for line in said if "nvmlDeviceGetPowerUsage" in line]) == 1


def test_a_missing_library_is_one_line_and_a_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with driver(FakeLibrary([], init_result=12)):
        sampler = sampler_over(said)
        sampler.start()
        points = points_when(sampler, lambda p: bool(p[hw.FAULTS]))
        sampler.stop()

    assert points[hw.FAULTS] == {("nvmlInit", "no_library"): 1}
    assert len(said) == 1
    assert said[0].startswith("GPU figures: the NVIDIA driver cannot be used")
    assert points[hw.POWER] == {}


def test_a_missing_permission_is_named() -> None:
    said: list[str] = []
    with driver(FakeLibrary([], init_result=4)):
        sampler = sampler_over(said)
        sampler.start()
        points = points_when(sampler, lambda p: bool(p[hw.FAULTS]))
        sampler.stop()

    assert points[hw.FAULTS] == {("nvmlInit", "no_permission"): 1}


def test_a_hanging_call_stalls_nobody_and_its_figures_disappear() -> None:
    library = FakeLibrary([FakeGpu("GPU-a")])
    release = threading.Event()
    said: list[str] = []
    with driver(library):
        sampler = sampler_over(said, hangs_after_s=0.2)
        sampler.start()
        points_when(sampler, lambda p: bool(p.get(hw.POWER)))
        library.hooks["nvmlDeviceGetPowerUsage"] = lambda: release.wait(PATIENCE_S) and None
        gone = points_when(sampler, lambda p: ("nvmlDeviceGetPowerUsage", "hanging") in p[hw.FAULTS])
        started = own_time_s()
        for _ in range(100):
            sampler.points()
        asked_s = own_time_s() - started
        time.sleep(0.3)
        later = sampler.points()
        del library.hooks["nvmlDeviceGetPowerUsage"]
        release.set()
        back = points_when(sampler, lambda p: bool(p[hw.POWER]))
        sampler.stop()

    assert gone[hw.POWER] == {}
    assert asked_s < 0.5
    assert later[hw.FAULTS][("nvmlDeviceGetPowerUsage", "hanging")] == 1
    assert later[hw.SNAPSHOT_AGE][()] > 0.4
    assert values(back, hw.POWER) == {(): pytest.approx(612.345)}
    assert len([line for line in said if "does not return" in line]) == 1


def test_a_driver_that_hangs_for_ever_does_not_keep_the_relay_from_ending() -> None:
    library = FakeLibrary([FakeGpu("GPU-a")])
    release = threading.Event()
    library.hooks["nvmlInitWithFlags"] = lambda: release.wait(PATIENCE_S) and None
    with driver(library):
        sampler = sampler_over(hangs_after_s=0.1)
        sampler.start()
        points_when(sampler, lambda p: ("nvmlInit", "hanging") in p[hw.FAULTS])
        started = own_time_s()
        sampler.stop()
        took_s = own_time_s() - started
        release.set()
        sampler._thread.join(PATIENCE_S)

    assert took_s < 3


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        ({"gpu_percent": 4_000_000_000}, hw.UTILIZATION),
        ({"power_mw": 4_294_967_295}, hw.POWER),
        ({"temperature": 4_294_967_295}, hw.TEMPERATURE),
        ({"total_bytes": 0}, hw.MEMORY_LIMIT),
        ({"used_bytes": 2**63}, hw.MEMORY_USAGE),
        ({"clocks_mhz": (99_999_999,) * 4}, hw.CLOCK),
    ],
)
def test_garbage_is_left_out_and_counted(change: dict[str, object], signal: OwnSignal) -> None:
    points = sampled(FakeLibrary([FakeGpu("GPU-a", memory_temperature=500, **change)]))  # type: ignore[arg-type]

    assert points.get(signal, {}) == {}
    assert any(reason == "garbage" for _, reason in points[hw.FAULTS])


def test_a_driver_that_raises_nonsense_does_not_end_the_sampling() -> None:
    library = FakeLibrary([FakeGpu("GPU-a")])

    def explode() -> None:
        raise ValueError("what the driver handed out")

    library.hooks["nvmlDeviceGetClockInfo"] = explode
    points = sampled(library)

    assert points.get(hw.CLOCK, {}) == {}
    assert values(points, hw.POWER) == {(): pytest.approx(612.345)}
    assert points[hw.FAULTS][("nvmlDeviceGetClockInfo", "garbage")] >= 1


def test_dear_calls_come_at_a_slower_pace_and_their_cost_is_shown() -> None:
    library = FakeLibrary([FakeGpu("GPU-a")])
    library.hooks["nvmlDeviceGetUtilizationRates"] = lambda: time.sleep(0.02)
    with driver(library):
        sampler = sampler_over()
        sampler.start()
        points_when(sampler, lambda _: library.calls.count("nvmlDeviceGetPowerUsage") >= 40)
        points = sampler.points()
        sampler.stop()

    assert library.calls.count("nvmlDeviceGetUtilizationRates") <= 3
    assert values(points, hw.UTILIZATION)[("general",)] == 0.87
    assert points[hw.CALL_TIME][("nvmlDeviceGetUtilizationRates",)] >= 0.02
    assert points[hw.CALLS][("nvmlDeviceGetPowerUsage",)] >= 40


def test_energy_of_a_gpu_without_a_counter_is_power_times_time() -> None:
    library = FakeLibrary([FakeGpu("GPU-a", energy_mj=None, power_mw=500_000)])
    with driver(library):
        sampler = sampler_over()
        started = time.monotonic()
        sampler.start()
        points = points_when(sampler, lambda p: values(p, hw.ENERGY).get((), 0) > 100)
        sampler.stop()

    assert values(points, hw.ENERGY)[()] == pytest.approx(500 * (time.monotonic() - started), rel=0.5)


def test_sampling_is_off_when_told_so() -> None:
    library = FakeLibrary([FakeGpu("GPU-a")])
    with driver(library):
        sampler = sampler_over(environ={"ESPER_OTEL_GPUS": "none"})
        sampler.start()
        sampler.stop()

    assert library.calls == []
    assert all(points == {} for points in sampler.points().values())
