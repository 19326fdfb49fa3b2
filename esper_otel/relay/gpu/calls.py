"""The boundary to the GPU driver: every call is timed and counted, and failures become absent values, not exceptions.

``pynvml`` (nvidia-ml-py) is the driver's own binding; nothing else in the project touches it.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any, Final

REASONS: Final = {
    2: "invalid_argument",
    3: "not_supported",
    4: "no_permission",
    6: "not_found",
    9: "no_driver",
    12: "no_library",
    13: "not_supported",
    15: "gpu_lost",
    16: "reset_required",
    18: "version_mismatch",
    25: "not_supported",
    27: "not_ready",
}
"""Reason by NVML's error number."""

NOT_AVAILABLE: Final = frozenset({2**32 - 1, 2**64 - 1})
"""Numbers that the driver returns for an unknown value, as unsigned int and as unsigned long long."""

TIMEOUT: Final = 10
"""NVML's answer "nothing happened" to a wait for events: no failure."""

PERMANENT: Final = frozenset({"not_supported", "no_permission", "invalid_argument"})
"""Permanent errors: the call is not repeated for that GPU."""


class DriverUnavailableError(RuntimeError):
    """No usable GPU driver. ``reason`` is a bounded word, the message the cause."""

    def __init__(self, reason: str, detail: str) -> None:
        """``reason``: no_library, no_driver, no_permission and the like."""
        super().__init__(detail)
        self.reason = reason


class Calls:
    """Calls of the driver from the sampling thread.

    Attributes:
        counts: calls so far, by function.
        seconds: time spent in them, by function.
        faults: failures, by function and reason; a permanent one counts once for each GPU.
        lost: GPUs that the driver gave up.
        running: function and start (monotonic s) of the call that is under way, for the watchdog.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """``say`` receives one line for each new kind of fault."""
        self.counts: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.faults: dict[tuple[str, str], int] = {}
        self.lost: set[str] = set()
        self.running: tuple[str, float] | None = None
        self._say = say
        self._nvml: Any = None
        self._barred: set[tuple[str, str, tuple[Any, ...]]] = set()

    @property
    def nvml(self) -> Any:
        """The binding, for its constants and structures."""
        return self._nvml

    def open(self) -> None:
        """Load the library and connect to the driver. May block as long as the driver does.

        Raises:
            DriverUnavailableError: there is no driver, or no permission to use it.
        """
        try:
            self._nvml = importlib.import_module("pynvml")
        except ImportError as error:
            raise DriverUnavailableError("no_library", f"nvidia-ml-py is not installed ({error})") from None
        self.running = ("nvmlInit", time.monotonic())
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            reason = REASONS.get(error.value, "error")
            raise DriverUnavailableError(reason, f"the NVIDIA driver cannot be used: {error}") from None
        finally:
            self.running = None

    def close(self) -> None:
        """Disconnect."""
        self.ask("", "nvmlShutdown")

    def ask(self, gpu: str, function: str, *args: Any, variant: tuple[Any, ...] = ()) -> Any | None:
        """Call ``function``; None if it failed.

        Args:
            gpu: the GPU that is asked about, by its UUID; empty for none.
            function: name in the binding.
            args: its arguments.
            variant: which of several questions of this function it is: one may be unsupported and another not.
        """
        if (gpu, function, variant) in self._barred:
            return None
        start = time.monotonic()
        self.running = (function, start)
        try:
            return getattr(self._nvml, function)(*args)
        except self._nvml.NVMLError as error:
            self._note(gpu, function, variant, error)
            return None
        except Exception as error:  # what a broken driver hands out must not end the sampling
            self.fault(function, "garbage", f"{gpu} {function}: {error!r}")
            return None
        finally:
            self.running = None
            self.counts[function] = self.counts.get(function, 0) + 1
            self.seconds[function] = self.seconds.get(function, 0.0) + time.monotonic() - start

    def is_barred(self, gpu: str, function: str) -> bool:
        """Return True if the driver permanently cannot answer ``function`` for this GPU."""
        return (gpu, function, ()) in self._barred

    def number(self, function: str, value: Any, low: float, high: float) -> float | None:
        """``value`` as a float if it lies in [low, high].

        None where the driver does not know it, and for anything else, which is garbage; both are counted.
        """
        if value is None:
            self._count(function, "not_available")
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if low <= number <= high:
            if value not in NOT_AVAILABLE:
                return number
            self._count(function, "not_available")
            return None
        self.fault(function, "garbage", f"{function} answered {value!r}, outside [{low:g}, {high:g}]")
        return None

    def fault(self, function: str, reason: str, detail: str) -> None:
        """Count a failure and report the first one."""
        key = (function, reason)
        if key not in self.faults:
            self._say(f"GPU figures: {detail}")
        self._count(function, reason)

    def _count(self, function: str, reason: str) -> None:
        self.faults[(function, reason)] = self.faults.get((function, reason), 0) + 1

    def _note(self, gpu: str, function: str, variant: tuple[Any, ...], error: Any) -> None:
        if error.value == TIMEOUT:
            return
        reason = REASONS.get(error.value, "error")
        if reason in PERMANENT:
            self._barred.add((gpu, function, variant))
        if reason == "gpu_lost":
            self.lost.add(gpu)
        if reason in {"not_supported", "not_found"}:
            # An ordinary answer of a smaller GPU: counted, not worth a line.
            self._count(function, reason)
            return
        self.fault(function, reason, f"{function} of {gpu or 'the driver'}: {error}")
