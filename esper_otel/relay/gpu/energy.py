"""Joules per policy update: the GPUs' energy between the moments at which updates completed."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Final

from esper_otel.events import PolicyUpdate
from esper_otel.relay.ingest import Ingested

Joules = dict[str, float]
"""Energy by device."""

KEPT_SAMPLES: Final = 600
"""Energy samples that are kept for updates whose log lines arrive late: ten minutes at one a second."""

KEPT_UPDATES: Final = 10_000
"""Updates that may wait for the energy sample after them."""


class EnergyLedger:
    """Attributes energy to policy updates. Times are Unix s; safe from any thread.

    An update's energy is that from the end of the update before it to its own end: rollout, attribution and update
    together. The first update has no beginning and gets none. Energy at an update's end lies between two samples and
    is interpolated. Energy that falls (a driver was loaded anew) makes the update at that moment count for nothing.

    Attributes:
        per_update: J of the last update, by device.
        attributed: J of all updates together, by device.
    """

    def __init__(self) -> None:
        """Start without updates and samples."""
        self.per_update: Joules = {}
        self.attributed: Joules = {}
        self._samples: deque[tuple[float, Joules]] = deque(maxlen=KEPT_SAMPLES)
        self._updates: deque[float] = deque(maxlen=KEPT_UPDATES)
        self._last: Joules | None = None
        self._rank = sys.maxsize
        self._lock = threading.Lock()

    def observe(self, line: Ingested) -> None:
        """Process a line of the log. Ranks update together: the lowest one seen represents all of them."""
        if line.record is None or not any(isinstance(event, PolicyUpdate) for event in line.events):
            return
        self._rank = min(self._rank, line.record.rank)
        if line.record.rank == self._rank:
            self.note_update(line.record.timestamp_ns / 1e9)

    def note_update(self, at_s: float) -> None:
        """A policy update completed at ``at_s``."""
        with self._lock:
            self._updates.append(at_s)

    def note_energy(self, at_s: float, joules: Joules) -> None:
        """Record the devices' counters ``joules`` at ``at_s`` and settle the updates up to then."""
        with self._lock:
            self._samples.append((at_s, joules))
            while self._updates and self._updates[0] <= at_s:
                self._settle(self._updates.popleft())

    def _settle(self, at_s: float) -> None:
        energy = self._energy_at(at_s)
        if energy is None:
            return  # before the first sample
        if self._last is not None:
            spent = {device: j - self._last[device] for device, j in energy.items() if device in self._last}
            if spent and all(j >= 0 for j in spent.values()):
                self.per_update = spent
                for device, joules in spent.items():
                    self.attributed[device] = self.attributed.get(device, 0.0) + joules
        self._last = energy

    def _energy_at(self, at_s: float) -> Joules | None:
        after = None
        for sample in reversed(self._samples):
            if sample[0] <= at_s:
                return sample[1] if after is None else _between(sample, after, at_s)
            after = sample
        return None


def _between(before: tuple[float, Joules], after: tuple[float, Joules], at_s: float) -> Joules:
    share = (at_s - before[0]) / (after[0] - before[0])
    return {d: j + (after[1][d] - j) * share for d, j in before[1].items() if d in after[1]}
