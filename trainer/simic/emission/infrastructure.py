"""The infrastructure snapshot: time, memory and compiler state over the last rounds, as far as they can be measured."""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.events import CompilerStats, Event
from esper_otel.sensors import AllocatorSensor, CompilerSensor, Faults, snapshot
from trainer.simic.observer import RoundEnd
from trainer.tolaria.phases import PhaseTime, add_phases

_TIMED: Final = {
    "avg_forward_time_ms": "forward",
    "avg_backward_time_ms": "backward",
    "avg_optimizer_time_ms": "optimizer",
    "avg_data_transfer_time_ms": "data_transfer",
}


class Window:
    """Sums up rounds until a snapshot is taken. ``device`` is that of hosts and policy."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._phases: dict[str, PhaseTime] = {}
        self._rounds = 0
        self._faults = Faults()
        self._allocator = AllocatorSensor(device, faults=self._faults)
        self._compiler = CompilerSensor(faults=self._faults)
        self._last_stats: CompilerStats | None = None

    def add(self, end: RoundEnd) -> None:
        """Count one round."""
        add_phases(self._phases, end.phases)
        self._rounds += 1

    def take(self, batch: int) -> list[Event]:
        """The snapshot of the rounds since the last one, with the sensors' readings.

        Fields that cannot be measured are absent.
        """
        means = {
            field: self._phases[name].wall_s / self._phases[name].count * 1e3
            for field, name in _TIMED.items()
            if name in self._phases
        }
        allocator, reading = self._allocator.take(batch), self._compiler.take()
        events: list[Event] = [] if allocator is None else [allocator]
        if reading is not None:
            events += reading.news
            if reading.stats != self._last_stats:
                events.append(reading.stats)
                self._last_stats = reading.stats
        summary = snapshot(
            self._device,
            batch=batch,
            window=self._rounds,
            phases={},  # the sums of many rounds are kept here, not every duration
            allocator=allocator,
            compiler=None if reading is None else reading.stats,
        )
        self._phases, self._rounds = {}, 0
        return [*events, msgspec.structs.replace(summary, **means), *self._faults.drain()]
