"""The optimizer that is stepping now, where one wraps another."""

from __future__ import annotations

import weakref
from typing import Any, Final

import torch

from esper_otel.sensors.names import ids_of

Optimizer = torch.optim.Optimizer

MOST_INNER_STEPS: Final = 2
"""Steps inside one of a wrapper; after more of them the outer step is over: it ended in an exception."""


class Outer:
    """The optimizer that is stepping; one that it wraps, of the same parameters, does not count beside it."""

    def __init__(self) -> None:
        self._optimizer: weakref.ref[Optimizer] | None = None
        self._inner_steps = 0

    def enter(self, optimizer: Optimizer) -> bool:
        """Note the begin of a step; returns False for one inside the step of a wrapper."""
        outer = self._optimizer() if self._optimizer is not None else None
        if outer is not None and outer is not optimizer and self._inner_steps < MOST_INNER_STEPS:
            ids = ids_of(outer)
            if not ids.isdisjoint(ids_of(optimizer)):
                self._inner_steps += 1
                return False
        self._optimizer, self._inner_steps = weakref.ref(optimizer), 0
        return True

    def leave(self) -> None:
        """Note its end."""
        self._optimizer, self._inner_steps = None, 0


def closure_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return True if a step was called with a closure."""
    return callable(kwargs.get("closure", args[1] if len(args) > 1 else None))


def is_capturing(parameters: list[torch.Tensor]) -> bool:
    """Return True if a CUDA graph is being captured on the stream of these parameters."""
    return bool(parameters) and parameters[0].is_cuda and torch.cuda.is_current_stream_capturing()
