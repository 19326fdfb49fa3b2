"""Loss scaling as the gradients have it: by which scale they are still multiplied, and when a scaler skips a step."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from esper_otel.sensors.names import ids_of
from esper_otel.sensors.updating.patches import Function, Patches


class Scalers:
    """Follows every ``torch.amp.GradScaler`` of the process, also those made earlier."""

    def __init__(self, settled: Callable[[torch.optim.Optimizer], None], updated: Callable[[Any], None]) -> None:
        """``settled`` is called after a scaler took or skipped a step, ``updated`` after it changed its scale."""
        self._settled = settled
        self._updated = updated
        self._divided: weakref.WeakKeyDictionary[Any, set[int]] = weakref.WeakKeyDictionary()
        self._last_loss: tuple[torch.Tensor, torch.Tensor] | None = None

    def patch(self, patches: Patches, guard: Callable[[Function], Function]) -> None:
        """Replace the methods of all kinds of scalers; ``guard`` makes a function of ours safe to call there."""

        def around(note: Function) -> Callable[[Function], Function]:
            safe = guard(note)

            def wrap(method: Function) -> Function:
                def call(scaler: Any, *args: Any, **kwargs: Any) -> Any:
                    result = method(scaler, *args, **kwargs)
                    safe(scaler, args or tuple(kwargs.values()), result)
                    return result

                return call

            return wrap

        for kind in (torch.amp.GradScaler, *_subclasses(torch.amp.GradScaler)):
            patches.attribute(kind, "scale", around(self._note_scaled))
            patches.attribute(kind, "unscale_", around(self._note_unscaled))
            patches.attribute(kind, "step", around(self._note_step))
            patches.attribute(kind, "update", around(self._note_update))

    def scale_of(self, parameter: torch.Tensor) -> torch.Tensor | None:
        """The scale that the gradient of ``parameter`` is multiplied by now, a copy; None for none."""
        for scaler, divided in list(self._divided.items()):
            scale = getattr(scaler, "_scale", None)
            if scale is not None and id(parameter) not in divided:
                copy: torch.Tensor = scale.detach().clone()
                return copy
        return None

    def loss_of(self, root: torch.Tensor) -> torch.Tensor:
        """The loss behind the scaled one from which a backward pass starts."""
        if self._last_loss is not None and self._last_loss[0] is root:
            return self._last_loss[1]
        return root

    def _note_scaled(self, scaler: Any, args: tuple[Any, ...], result: Any) -> None:
        if scaler.is_enabled():
            self._divided.setdefault(scaler, set())
            if args and isinstance(args[0], torch.Tensor):
                self._last_loss = (result, args[0])

    def _note_unscaled(self, scaler: Any, args: tuple[Any, ...], _: Any) -> None:
        if args and scaler.is_enabled():
            self._divided.setdefault(scaler, set()).update(ids_of(args[0]))

    def _note_step(self, scaler: Any, args: tuple[Any, ...], _: Any) -> None:
        if args and scaler.is_enabled():
            self._settled(args[0])

    def _note_update(self, scaler: Any, _: tuple[Any, ...], __: Any) -> None:
        self._divided.pop(scaler, None)
        self._last_loss = None
        self._updated(scaler)


def _subclasses(kind: type) -> list[type]:
    direct: list[type] = kind.__subclasses__()
    return [found for one in direct for found in (one, *_subclasses(one))]
