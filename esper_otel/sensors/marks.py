"""Marks in a device's work: the only code of the sensors that touches CUDA events.

A mark is put into a stream, passes when the device gets there, and is asked whether it has passed; nothing here waits.
Tests replace it with an imitation of the driver and keep everything above it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import torch


class Marks(Protocol):
    """Interface to a device for timing and deferred reading."""

    def new(self) -> Any:
        """A mark that was not recorded yet."""

    def stream(self) -> Hashable:
        """The stream that the calling thread uses now."""

    def record(self, mark: Any, stream: Any) -> None:
        """Put ``mark`` after the work given to ``stream`` so far. Raises RuntimeError if the device is lost."""

    def has_passed(self, mark: Any) -> bool:
        """Return True if the device has reached ``mark``. Raises RuntimeError if the device is lost."""

    def seconds(self, start: Any, end: Any) -> float:
        """Time on the device between two marks that have passed, s."""

    def is_capturing(self) -> bool:
        """Return True if the current stream is being captured into a CUDA graph: events there measure nothing."""


class CudaMarks:
    """CUDA events of one device."""

    def __init__(self, device: torch.device) -> None:
        """``device``: a CUDA device; without an index it is the current one."""
        self._device = device

    def new(self) -> torch.cuda.Event:
        """A timing event; the driver creates it when it is first recorded."""
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch has no types here

    def stream(self) -> torch.cuda.Stream:
        """The current stream of the device."""
        return torch.cuda.current_stream(self._device)

    def record(self, mark: torch.cuda.Event, stream: torch.cuda.Stream) -> None:
        """Enqueue the event; about a microsecond of the host's time."""
        mark.record(stream)

    def has_passed(self, mark: torch.cuda.Event) -> bool:
        """Ask the driver; does not wait."""
        return bool(mark.query())  # type: ignore[no-untyped-call]  # torch has no types here

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """The driver's difference in ms (resolution about 0.5 µs), in s."""
        return float(start.elapsed_time(end)) * 1e-3

    def is_capturing(self) -> bool:
        """Return True if a CUDA graph is being captured here."""
        return torch.cuda.is_current_stream_capturing()


def named_device(device: torch.device | str) -> torch.device:
    """``device`` with its number: ``cuda`` is the current CUDA device, named as in the relay and the log."""
    named = torch.device(device)
    if str(named) == "cuda" and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return named


def marks_of(device: torch.device) -> Marks | None:
    """Marks of an asynchronous device; None for the CPU.

    Raises:
        RuntimeError: the device is not there, or of a kind that has no timing events here.
    """
    if device.type == "cpu":
        return None
    if device.type != "cuda":
        raise RuntimeError(f"no timing events for device {device}: cuda (NVIDIA, ROCm) and cpu are supported")
    if not torch.cuda.is_available():
        raise RuntimeError(f"device {device} was requested but torch finds no CUDA device")
    return CudaMarks(device)
