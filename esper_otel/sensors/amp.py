"""Activity of a gradient scaler, read from its scale on the device without waiting for it."""

from __future__ import annotations

import math

import torch

from esper_otel.events import AmpState
from esper_otel.sensors.deferred import DeferredReader
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.marks import Marks, marks_of

GROWING = "growing"
STABLE = "stable"
DECAYING = "decaying"


class ScalerSensor:
    """Watches one ``torch.amp.GradScaler``.

    ``GradScaler.get_scale()`` waits for the device. This reads the scaler's own tensor by an asynchronous copy after
    each ``update()`` and compares successive scales: a fall means skipped steps, as many as backoffs fit into it.
    """

    def __init__(
        self, scaler: torch.amp.GradScaler, *, marks: Marks | None = None, faults: Faults | None = None
    ) -> None:
        """``scaler``: of any device; a disabled one has no state."""
        self.faults = faults or Faults()
        self._scaler = scaler
        self._marks = marks
        self._reader: DeferredReader[int | None] | None = None
        self._is_on = scaler.is_enabled()
        self._device = ""
        self._last: float | None = None

    @property
    def dropped(self) -> int:
        """Readings dropped because the device was too far behind; the next one covers them."""
        return self._reader.dropped if self._reader else 0

    def observe(self, step: int | None = None) -> None:
        """Call after ``scaler.update()``. Does not wait and does not raise."""
        scale = getattr(self._scaler, "_scale", None)
        if not self._is_on or scale is None or torch.compiler.is_compiling():
            return  # the scaler makes its tensor when it first scales a loss
        try:
            if self._reader is None:
                self._device = str(scale.device)
                self._reader = DeferredReader(scale.device, 1, marks=self._marks or marks_of(scale.device))
            self._reader.put(step, scale.reshape(1))
        except RuntimeError as error:
            self._is_on = False
            self.faults.note("amp", "device_lost", f"{self._device}: {error}")

    def take(self) -> AmpState | None:
        """Changes of the scaler since the last call, as far as known; None if nothing new is known."""
        if self._reader is None or not self._is_on:
            return None
        try:
            readings = self._reader.take()
        except RuntimeError as error:
            self._is_on = False
            self.faults.note("amp", "device_lost", f"{self._device}: {error}")
            return None
        if not readings:
            return None
        state = self._judge([values[0] for _, values in readings])
        return AmpState(
            device=self._device,
            step=readings[-1][0],
            loss_scale=readings[-1][1][0],
            scaler_state=state[0],
            scale_changes=state[1],
            overflows=state[2],
        )

    def _judge(self, scales: list[float]) -> tuple[str, int, int]:
        """State, changes and overflows over successive ``scales``, starting with the last known one."""
        rises = falls = overflows = 0
        for scale in scales:
            if self._last is not None and scale > self._last:
                rises += 1
            elif self._last is not None and scale < self._last:
                falls += 1
                overflows += self._backoffs(self._last, scale)
            self._last = scale
        state = DECAYING if falls else GROWING if rises else STABLE
        return state, rises + falls, overflows

    def _backoffs(self, before: float, after: float) -> int:
        factor = self._scaler.get_backoff_factor()
        if not 0 < factor < 1 or after <= 0:
            return 1
        return max(round(math.log(after / before) / math.log(factor)), 1)
