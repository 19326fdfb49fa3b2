"""Reading of small tensors from a device without waiting: an asynchronous copy now, the numbers once it has arrived."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Generic, TypeVar

import torch

from esper_otel.sensors.marks import Marks

T = TypeVar("T")

DEFAULT_SLOTS: Final = 8


class DeferredReader(Generic[T]):
    """Copies flat float tensors to the host behind the device's work.

    Attributes:
        dropped: tensors that found all ``slots`` copies still on their way.
    """

    def __init__(
        self,
        device: torch.device,
        size: int,
        *,
        slots: int = DEFAULT_SLOTS,
        marks: Marks | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """``size``: largest number of elements of a tensor. Page-locked memory is taken here, not during training.

        ``marks``: the device's; without any, values are at hand at once (CPU).
        """
        self.dropped = 0
        self._marks = marks
        is_locked = device.type == "cuda"
        self._free: list[tuple[torch.Tensor, Any]] = [
            (torch.empty(size, dtype=dtype, pin_memory=is_locked), marks.new() if marks else None) for _ in range(slots)
        ]
        self._pending: deque[tuple[T, int, torch.Tensor, Any]] = deque()
        self._arrived: list[tuple[T, list[float]]] = []

    def has_room(self) -> bool:
        """Return True if a copy can be started now.

        Raises:
            RuntimeError: the device is lost.
        """
        self._poll()
        return bool(self._free)

    def put(self, tag: T, values: torch.Tensor) -> bool:
        """Start to copy ``values`` (flat, at most ``size`` long); returns False (counted) if no slot is free.

        Raises:
            RuntimeError: the device is lost.
        """
        self._poll()
        if not self._free:
            self.dropped += 1
            return False
        buffer, mark = self._free.pop()
        length = values.numel()
        buffer[:length].copy_(values.detach(), non_blocking=True)
        if self._marks is not None:
            self._marks.record(mark, self._marks.stream())
        self._pending.append((tag, length, buffer, mark))
        return True

    def take(self) -> list[tuple[T, list[float]]]:
        """Copies that arrived since the last call, oldest first, each with its tag.

        Raises:
            RuntimeError: the device is lost.
        """
        self._poll()
        arrived, self._arrived = self._arrived, []
        return arrived

    def _poll(self) -> None:
        while self._pending and (self._marks is None or self._marks.has_passed(self._pending[0][3])):
            tag, length, buffer, mark = self._pending.popleft()
            self._arrived.append((tag, buffer[:length].tolist()))
            self._free.append((buffer, mark))
