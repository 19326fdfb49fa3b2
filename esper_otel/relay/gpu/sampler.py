"""The NVML sampler: a thread of the relay that queries the GPU driver, so that a hung driver blocks nothing else.

A pass over all GPUs makes one snapshot, replaced as a whole. The cost of every reading is measured; one that takes
long comes at a slower pace, so that no reading uses more than a hundredth of a core. The relay takes the last snapshot
and never waits; when the driver does not answer, the figures disappear and their age is what is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from esper_otel.events import XidError
from esper_otel.relay.gpu import reads
from esper_otel.relay.gpu.calls import Calls, DriverUnavailableError
from esper_otel.relay.gpu.devices import Gpu, visible_gpus
from esper_otel.relay.gpu.energy import EnergyLedger
from esper_otel.relay.gpu.intervals import Activity, Energy, Processes, Throttling
from esper_otel.relay.gpu.reads import GpuPoints, Read, put
from esper_otel.relay.gpu.xid import XidWatch
from esper_otel.signals import hardware as hw

INTERVAL_S: Final = 1.0
HANGS_AFTER_S: Final = 5.0
RETRY_S: Final = 60.0
MAX_SHARE: Final = 0.01
"""Largest share of a core that one reading may use."""


class Reading(msgspec.Struct, frozen=True):
    """One kind of reading: function, minimum interval (s; 0 is every sample), and validity for MIG instances."""

    read: Read
    period_s: float = 0.0
    for_instances: bool = False


class Pace(msgspec.Struct):
    """Time of the next reading of one GPU, and the last result."""

    due_s: float = 0.0
    points: GpuPoints = msgspec.field(default_factory=dict)


class NvmlSampler:
    """Samples the GPUs of a run in a thread of its own."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        own_pids: Callable[[], set[int]],
        say: Callable[[str], None],
        on_xid: Callable[[XidError], None] = lambda _: None,
        interval_s: float = INTERVAL_S,
        hangs_after_s: float = HANGS_AFTER_S,
    ) -> None:
        """Create it; the driver is not called before :meth:`start`.

        Args:
            environ: environment of the training process, for CUDA_VISIBLE_DEVICES and ESPER_OTEL_GPUS.
            own_pids: the run's processes.
            say: receives one line for each new kind of fault.
            on_xid: receives each XID error, on the sampler's thread.
            interval_s: time between two snapshots.
            hangs_after_s: time after which an unanswered call counts as hanging.
        """
        self.ledger = EnergyLedger()
        self._environ = environ
        self._say = say
        self._on_xid = on_xid
        self._interval_s = interval_s
        self._hangs_after_s = hangs_after_s
        self._calls = Calls(say)
        self._energy = Energy()
        self._readings = _readings(self._energy, own_pids)
        self._paces: dict[tuple[str, int], Pace] = {}
        self._snapshot: GpuPoints = {}
        self._sampled_at = 0.0
        self._started_at = 0.0
        self._hanging: tuple[str, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="esper-nvml", daemon=True)

    def start(self) -> None:
        """Start sampling, unless ESPER_OTEL_GPUS is ``none``."""
        if self._environ.get("ESPER_OTEL_GPUS", "").lower() != "none":
            self._started_at = time.monotonic()
            self._thread.start()

    def stop(self) -> None:
        """End; a hung call is abandoned (the thread is a daemon)."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def points(self) -> GpuPoints:
        """Points of every hardware signal, an empty mapping for one that has none now. Never waits."""
        found: GpuPoints = {signal: {} for signal in hw.HARDWARE_SIGNALS}
        if not self._started_at:
            return found
        is_hanging = self._check_hanging()
        if not is_hanging:
            found.update(self._snapshot)
        if self._sampled_at:
            found[hw.SNAPSHOT_AGE] = {(): time.monotonic() - self._sampled_at}
        calls = self._calls
        found[hw.CALLS] = {(name,): float(count) for name, count in list(calls.counts.items())}
        found[hw.CALL_TIME] = {(name,): seconds for name, seconds in list(calls.seconds.items())}
        found[hw.FAULTS] = {key: float(count) for key, count in list(calls.faults.items())}
        found[hw.UPDATE_ENERGY] = {(device,): j for device, j in list(self.ledger.attributed.items())}
        found[hw.ENERGY_PER_UPDATE] = {(device,): j for device, j in list(self.ledger.per_update.items())}
        return found

    def _check_hanging(self) -> bool:
        running = self._calls.running
        if running is None or time.monotonic() - running[1] < self._hangs_after_s:
            return False
        if running != self._hanging:
            self._hanging = running
            self._calls.fault(running[0], "hanging", f"{running[0]} does not return; its figures are absent")
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._calls.open()
                break
            except DriverUnavailableError as error:
                self._calls.fault("nvmlInit", error.reason, str(error))
                if error.reason == "no_library":
                    return
                self._stop.wait(RETRY_S)  # the driver may still be loading
        if self._stop.is_set():
            return
        gpus = visible_gpus(self._calls, self._environ, self._say)
        watch = XidWatch(self._calls, [gpu for gpu in gpus if gpu.parent is None])
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self.sample(gpus, watch)
            except Exception as error:  # one odd answer must not end the figures of a long run
                self._calls.fault("sample", "internal", f"a sample failed: {error!r}")
            self._stop.wait(max(self._interval_s - (time.monotonic() - started), 0.0))
        self._calls.close()

    def sample(self, gpus: list[Gpu], watch: XidWatch) -> None:
        """Make one snapshot."""
        points: GpuPoints = {}
        for gpu in gpus:
            for index, reading in enumerate(self._readings):
                if gpu.parent is None or reading.for_instances:
                    merge(points, self._read(gpu, index, reading))
            if gpu.uuid in self._calls.lost:
                for name in ("ok", "degraded", "failed"):
                    put(points, hw.STATUS, gpu, float(name == "failed"), name)
        now = time.time()
        joules = {
            gpu.device or gpu.uuid: self._energy.joules[gpu.uuid] for gpu in gpus if gpu.uuid in self._energy.joules
        }
        if joules:
            self.ledger.note_energy(now, joules)
        for error in watch.take():
            self._on_xid(error)
        merge(points, watch.points())
        self._snapshot = points
        self._sampled_at = time.monotonic()

    def _read(self, gpu: Gpu, index: int, reading: Reading) -> GpuPoints:
        pace = self._paces.setdefault((gpu.uuid, index), Pace())
        started = time.monotonic()
        if started >= pace.due_s:
            points: GpuPoints = {}
            reading.read(gpu, self._calls, points)
            cost = time.monotonic() - started
            # A little early rather than a whole interval late.
            period = max(reading.period_s, cost / MAX_SHARE) - 0.5 * self._interval_s
            pace.points, pace.due_s = points, started + period
        return pace.points


def merge(into: GpuPoints, more: GpuPoints) -> None:
    """Add the points of ``more``."""
    for signal, points in more.items():
        into.setdefault(signal, {}).update(points)


def _readings(energy: Energy, own_pids: Callable[[], set[int]]) -> tuple[Reading, ...]:
    return (
        Reading(energy.read),
        Reading(reads.power),
        Reading(reads.utilization),
        Reading(reads.memory, for_instances=True),
        Reading(reads.temperature),
        Reading(reads.clocks),
        Reading(Throttling().read),
        Reading(reads.fields),
        Reading(Activity().read, for_instances=True),
        Reading(reads.violations, 5.0),
        Reading(Processes(own_pids).read, 5.0),
        Reading(reads.codecs, 5.0),
        Reading(reads.errors, 10.0),
        Reading(reads.rows, 30.0),
        Reading(reads.pcie_link, 30.0),
        Reading(reads.temperature_limits, 300.0),
        Reading(reads.pcie_rate, 10.0),
    )
