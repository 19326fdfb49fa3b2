"""Utilisation of the GPU, queried from the driver beside the training threads.

The relay samples NVML in full; this fills the two figures of the infrastructure snapshot. A driver call can hang for
minutes, so each reading has a short-lived thread, and training takes the last one that finished.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import torch

from esper_otel.sensors.faults import Faults
from esper_otel.sensors.marks import named_device

HANGS_AFTER_S: Final = 10.0

Reading = tuple[float, float]
"""Utilisation of the device and of its memory bus, both 0 to 100."""


class UtilizationProbe:
    """The last utilisation of one device.

    Attributes:
        latest: the last reading; None before the first, and while a call hangs.
    """

    def __init__(
        self,
        device: torch.device | str,
        *,
        read: Callable[[torch.device], Reading] | None = None,
        hangs_after_s: float = HANGS_AFTER_S,
        faults: Faults | None = None,
    ) -> None:
        """``read`` queries the driver and may block; nothing is read on a CPU."""
        self.device = named_device(device)
        self.faults = faults or Faults()
        self.latest: Reading | None = None
        self._read = read or _read_driver
        self._hangs_after_s = hangs_after_s
        self._is_on = self.device.type == "cuda"
        self._thread: threading.Thread | None = None
        self._asked_at = 0.0

    def request(self) -> None:
        """Request a new reading and return at once; no effect while one is in progress."""
        if not self._is_on:
            return
        if self._thread is not None and self._thread.is_alive():
            if time.monotonic() - self._asked_at > self._hangs_after_s:
                self.latest = None
                self.faults.note("utilization", "hanging", f"the driver of {self.device} does not answer")
            return
        self._asked_at = time.monotonic()
        self._thread = threading.Thread(target=self._ask, name="esper-utilization", daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.latest = self._read(self.device)
        except Exception as error:  # whatever the driver's binding raises must not reach a thread's excepthook
            self.latest = None
            self._is_on = False
            reason = "no_library" if isinstance(error, ModuleNotFoundError) else "unreadable"
            self.faults.note("utilization", reason, f"{self.device}: {error}")


def _read_driver(device: torch.device) -> Reading:
    return float(torch.cuda.utilization(device)), float(torch.cuda.memory_usage(device))
