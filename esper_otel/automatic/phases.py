"""The phases of a training step that can be told from outside: before backward, backward, optimizer step, data wait."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import Final

from esper_otel.sensors.timing import PhaseTimer

BEFORE_BACKWARD: Final = "before_backward"
BACKWARD: Final = "backward"
OPTIMIZER_STEP: Final = "optimizer_step"
DATA_WAIT: Final = "data_wait"


class Phases:
    """Phase of the thread that trains; other threads change nothing."""

    def __init__(self, timer: PhaseTimer) -> None:
        """``timer``: measures on the device."""
        self.waited_s = 0.0
        self._timer = timer
        self._thread = threading.get_ident()
        self._phase: AbstractContextManager[None] | None = None

    def enter(self, name: str | None) -> None:
        """End the phase that is on and begin another, or none."""
        if threading.get_ident() != self._thread:
            return
        phase, self._phase = self._phase, None
        if phase is not None:
            phase.__exit__(None, None, None)
        if name is not None:
            self._phase = self._timer.phase(name)
            self._phase.__enter__()

    def wait_began(self) -> float:
        """A data loader is asked for a batch; returns the time."""
        self.enter(None)
        return time.perf_counter()

    def wait_ended(self, began: float) -> None:
        """It gave one."""
        if threading.get_ident() == self._thread:
            seconds = time.perf_counter() - began
            self.waited_s += seconds
            self._timer.add(DATA_WAIT, seconds)
            self.enter(BEFORE_BACKWARD)

    def take_waited_s(self) -> float:
        """Time waited for data since the last call, s."""
        waited, self.waited_s = self.waited_s, 0.0
        return waited
