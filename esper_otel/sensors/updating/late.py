"""Numbers that are still on their devices: gathered there, copied together, read when they have arrived."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeAlias, TypeVar

import torch

from esper_otel.sensors.deferred import DeferredReader
from esper_otel.sensors.gradients import WITHOUT_FLOAT64
from esper_otel.sensors.marks import Marks, marks_of

T = TypeVar("T")

Number: TypeAlias = torch.Tensor | float
"""A scalar that may be on a device."""

COPY: Final = 2048
"""Numbers of one copy from a device."""

SLOTS: Final = 4

TOGETHER: Final = 128
"""Items that are worth a copy from a device at once, few beside what the log's queue holds."""

ASK_EVERY_S: Final = 0.25
"""Time after which fewer are copied, and copies are looked for."""

MOST_WAITING: Final = 16_384
"""Numbers that may wait for a device; a device that is too far behind must not fill the memory."""


def kept(value: Number) -> Number:
    """A copy of a scalar that nobody else writes to; its device is not waited for."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else float(value)


class _Batch(Generic[T]):
    """Items whose copies are on their way, with what has arrived."""

    def __init__(self, items: list[tuple[T, list[Number]]]) -> None:
        self.items = items
        self.missing = 0
        self.found: dict[int, float] = {}

    def numbers(self) -> list[tuple[T, list[float]]]:
        found = self.found
        return [
            (tag, [found[id(n)] if isinstance(n, torch.Tensor) else n for n in numbers]) for tag, numbers in self.items
        ]


class LateNumbers(Generic[T]):
    """Takes items with scalars on any devices and gives them back, in their order, with the numbers.

    Attributes:
        dropped: items given up since their device was too far behind.
    """

    def __init__(self, marks: Callable[[torch.device], Marks | None] = marks_of) -> None:
        """``marks``: gives the marks of a device."""
        self.dropped = 0
        self._marks = marks
        self._here: deque[tuple[T, list[float]]] = deque()
        self._waiting: list[tuple[T, list[Number]]] = []
        self._due_s = 0.0
        self._sent: deque[_Batch[T]] = deque()
        self._readers: dict[torch.device, DeferredReader[tuple[_Batch[T], list[torch.Tensor]]]] = {}

    def __len__(self) -> int:
        """Number of items not given back yet."""
        return len(self._here) + len(self._waiting) + sum(len(batch.items) for batch in self._sent)

    def is_due(self) -> bool:
        """Return True if :meth:`take` has something, or it is time to ask a device."""
        if self._here or len(self._waiting) >= TOGETHER:
            return True
        return bool(self._waiting or self._sent) and time.monotonic() >= self._due_s

    def add(self, tag: T, numbers: list[Number]) -> None:
        """Keep an item. Its tensors are scalars that nobody writes to any more."""
        if not (self._waiting or self._sent) and all(map(_is_on_host, numbers)):
            if len(self._here) * len(numbers) > MOST_WAITING:  # nobody takes
                self._here.popleft()
                self.dropped += 1
            self._here.append((tag, [float(number) for number in numbers]))
            return
        self._waiting.append((tag, numbers))
        if len(self._waiting) * len(numbers) > MOST_WAITING:
            half = len(self._waiting) // 2
            self.dropped += half
            del self._waiting[:half]

    def take(self) -> list[tuple[T, list[float]]]:
        """Start to copy what was added; return the items whose numbers are here, oldest first. Does not wait.

        Raises:
            RuntimeError: a device is lost.
        """
        arrived: list[tuple[T, list[float]]] = []
        while self._here:
            arrived.append(self._here.popleft())
        if not (self._waiting or self._sent):
            return arrived
        self._due_s = time.monotonic() + ASK_EVERY_S
        self._send()
        for reader in self._readers.values():
            for (batch, tensors), numbers in reader.take():
                batch.found.update(zip(map(id, tensors), numbers, strict=True))
                batch.missing -= 1
        while self._sent and not self._sent[0].missing:
            arrived += self._sent.popleft().numbers()
        return arrived

    def _send(self) -> None:
        while self._waiting:
            batch = _Batch(self._some())
            by_device: dict[torch.device, dict[int, torch.Tensor]] = {}
            for _, numbers in batch.items:
                for number in numbers:
                    if isinstance(number, torch.Tensor):
                        by_device.setdefault(number.device, {})[id(number)] = number
            if not all(self._has_room(device) for device in by_device):
                return
            del self._waiting[: len(batch.items)]
            self._sent.append(batch)
            for device, tensors in by_device.items():
                self._copy(batch, device, list(tensors.values()))

    def _some(self) -> list[tuple[T, list[Number]]]:
        """As many of the oldest items as fit into one copy."""
        count = size = 0
        for _, numbers in self._waiting:
            size += len(numbers)
            if count and size > COPY:
                break
            count += 1
        return self._waiting[:count]

    def _has_room(self, device: torch.device) -> bool:
        if device.type == "cpu":
            return True
        if device not in self._readers:
            self._readers[device] = DeferredReader(
                device, COPY, slots=SLOTS, marks=self._marks(device), dtype=_dtype(device)
            )
        return self._readers[device].has_room()

    def _copy(self, batch: _Batch[T], device: torch.device, tensors: list[torch.Tensor]) -> None:
        if device.type == "cpu":
            batch.found.update((id(tensor), float(tensor)) for tensor in tensors)
            return
        batch.missing += 1
        flat = torch.stack([tensor.reshape(()) for tensor in tensors])
        self._readers[device].put((batch, tensors), flat.to(_dtype(device)))


def _is_on_host(number: Number) -> bool:
    return number.is_cpu if isinstance(number, torch.Tensor) else True


def _dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
