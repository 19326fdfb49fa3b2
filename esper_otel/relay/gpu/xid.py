"""XID errors: each one counted and reported when it occurs, unlike the driver's last value."""

from __future__ import annotations

from typing import Final

from esper_otel.events import XidError
from esper_otel.events.vocabulary import XIDS
from esper_otel.relay.gpu.calls import Calls
from esper_otel.relay.gpu.devices import Gpu
from esper_otel.relay.gpu.reads import GpuPoints, put
from esper_otel.signals import hardware as hw

MAX_EVENTS: Final = 64
"""Errors taken at one sample: a driver that reports without end must not hold up the figures."""

MEANINGS: Final = {
    13: "graphics engine exception",
    31: "GPU memory page fault",
    32: "invalid or corrupted push buffer",
    43: "GPU stopped processing",
    45: "preemptive cleanup after earlier errors",
    48: "double-bit ECC error",
    61: "internal micro-controller breakpoint or warning",
    62: "internal micro-controller halt",
    63: "ECC page retirement or row remapping recorded",
    64: "ECC page retirement or row remapping failed",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    92: "high single-bit ECC error rate",
    94: "contained ECC error",
    95: "uncontained ECC error",
    109: "context switch timeout",
    119: "GSP firmware does not respond",
    120: "GSP firmware error",
}
"""Code -> meaning, for people; the full list is NVIDIA's."""


class XidWatch:
    """Registers for XID errors of some GPUs and collects them. Used by the sampler's thread."""

    def __init__(self, calls: Calls, gpus: list[Gpu]) -> None:
        """Register; a driver without events (virtual machines, missing permission) is a counted fault."""
        self._calls = calls
        self._gpus = {gpu.uuid: gpu for gpu in gpus}
        self._counts: dict[tuple[str, str], int] = {(gpu.uuid, xid): 0 for gpu in gpus for xid in XIDS}
        self._last: dict[str, int] = {}
        self._set = calls.ask("", "nvmlEventSetCreate") if gpus else None
        self._watched = [gpu.uuid for gpu in gpus if self._set is not None and self._register(gpu)]

    def take(self) -> list[XidError]:
        """The errors since the last call. Does not wait."""
        found: list[XidError] = []
        while self._watched and len(found) < MAX_EVENTS:
            data = self._calls.ask("", "nvmlEventSetWait_v2", self._set, 0)
            if data is None:
                break
            if data.eventType & self._calls.nvml.nvmlEventTypeXidCriticalError:
                found.append(self._error(int(data.eventData), self._calls.ask("", "nvmlDeviceGetUUID", data.device)))
        return found

    def points(self) -> GpuPoints:
        """Counts by GPU and code, known codes from 0."""
        points: GpuPoints = {}
        for (uuid, xid), count in self._counts.items():
            if uuid in self._watched:
                put(points, hw.XID_ERRORS, self._gpus[uuid], float(count), xid)
        for uuid, xid_code in self._last.items():
            put(points, hw.LAST_XID, self._gpus[uuid], float(xid_code))
        return points

    def _register(self, gpu: Gpu) -> bool:
        kinds = self._calls.nvml.nvmlEventTypeXidCriticalError
        before = sum(self._calls.faults.values())
        self._calls.ask(gpu.uuid, "nvmlDeviceRegisterEvents", gpu.handle, kinds, self._set)
        return sum(self._calls.faults.values()) == before

    def _error(self, xid: int, uuid: str | None) -> XidError:
        gpu = self._gpus.get(uuid or "")
        if gpu is not None:
            code = str(xid) if str(xid) in XIDS else "other"
            self._counts[gpu.uuid, code] = self._counts.get((gpu.uuid, code), 0) + 1
            self._last[gpu.uuid] = xid
        return XidError(
            device=gpu.device or None if gpu else None,
            gpu_id=uuid,
            gpu_name=gpu.name if gpu else None,
            xid=xid,
            meaning=MEANINGS.get(xid),
        )
