"""Checkpoints: files that the program saves and loads by torch."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch

from esper_otel.events import CheckpointLoaded, CheckpointSaved, Event
from esper_otel.sensors.updating.patches import Function, Patches

MOST_WAITING: Final = 64
"""Events that wait for a report; of more, the oldest are left out."""

LONGEST_PATH: Final = 500


class Checkpoints:
    """Watches ``torch.save`` and ``torch.load``; what goes into memory is no checkpoint."""

    def __init__(self) -> None:
        """Start without any."""
        self._events: deque[tuple[Event, int]] = deque(maxlen=MOST_WAITING)

    def patch(self, patches: Patches, tick: Callable[[], None]) -> None:
        """Replace both; ``tick`` is called after each."""

        def around(position: int, event_of: Callable[[str, float], Event]) -> Callable[[Function], Function]:
            def wrap(original: Function) -> Function:
                def call(*args: Any, **kwargs: Any) -> Any:
                    began_s = time.perf_counter()
                    result = original(*args, **kwargs)
                    took_ms = 1e3 * (time.perf_counter() - began_s)
                    with suppress(Exception):
                        path = _path(kwargs.get("f", args[position] if len(args) > position else None))
                        if path is not None:
                            self._events.append((event_of(path, took_ms), time.time_ns()))
                        tick()
                    return result

                return call

            return wrap

        patches.attribute(torch, "save", around(1, _saved), torch.serialization)
        patches.attribute(torch, "load", around(0, _loaded), torch.serialization)

    def take(self) -> list[tuple[Event, int]]:
        """The events since the last call, each with its Unix time."""
        events = list(self._events)
        self._events.clear()
        return events


def _path(file: Any) -> str | None:
    """Path of a file, given by name or opened; None for one in memory."""
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    return os.fsdecode(name)[:LONGEST_PATH] if isinstance(name, str | os.PathLike) else None


def _loaded(path: str, took_ms: float) -> CheckpointLoaded:
    return CheckpointLoaded(path=path, duration_ms=took_ms)


def _saved(path: str, took_ms: float) -> CheckpointSaved:
    size = None
    with suppress(OSError):
        size = Path(path).stat().st_size
    return CheckpointSaved(path=path, size_bytes=size, duration_ms=took_ms)
