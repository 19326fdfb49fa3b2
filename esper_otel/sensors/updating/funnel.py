"""Everything in torch that says something about an update before the optimizer steps: backward, clipping, scaling.

The functions are replaced while somebody watches, once for the process. What watches sees each call; an exception in it
is reported and never reaches the caller.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch.nn.utils import clip_grad

from esper_otel.sensors.faults import Faults
from esper_otel.sensors.updating.clips import Clip, seal
from esper_otel.sensors.updating.late import Number, kept
from esper_otel.sensors.updating.norms import ShardedError, total_norms, whole
from esper_otel.sensors.updating.patches import Function, Patches, run_eagerly
from esper_otel.sensors.updating.scalers import Scalers

MOST_CLIPS: Final = 256
"""Clips that are remembered until an optimizer steps: one for each parameter group of several optimizers."""

_FSDP: Final = "torch.distributed.fsdp.fully_sharded_data_parallel"


class Watcher:
    """Base of what watches the funnel: override what is of interest. Called on the thread that trains."""

    faults: Faults

    def before_clip(self, parameters: Sequence[torch.Tensor]) -> None:
        """These parameters' gradients are about to be clipped."""

    def before_backward(self, loss: torch.Tensor | None) -> None:
        """A backward pass begins; ``loss`` is the scalar that it starts from, without loss scale."""

    def after_backward(self) -> None:
        """It ended."""

    def settled(self, optimizer: torch.optim.Optimizer) -> None:
        """A gradient scaler took the step of ``optimizer``, or skipped it."""

    def scale_updated(self, scaler: torch.amp.GradScaler) -> None:
        """A gradient scaler changed its scale."""


class Funnel:
    """The replaced functions and the clips of the process."""

    def __init__(self) -> None:
        """Replace nothing yet."""
        self.clips: deque[Clip] = deque(maxlen=MOST_CLIPS)
        self.clip_count = 0
        self.backward_count = 0
        self.scalers = Scalers(self._settled, self._scale_updated)
        self._watchers: tuple[Watcher, ...] = ()
        self._patches = Patches()
        self._local = threading.local()
        self._other_norm: tuple[Any, tuple[torch.Tensor, ...]] | None = None
        self._has_fsdp = False

    def add(self, watcher: Watcher) -> None:
        """Let ``watcher`` see all calls from now on."""
        if not self._watchers:
            self._patch()
        self._watchers += (watcher,)

    def remove(self, watcher: Watcher) -> None:
        """The opposite of :meth:`add`; after the last one torch's functions are its own again."""
        self._watchers = tuple(one for one in self._watchers if one is not watcher)
        if not self._watchers:
            self._patches.undo()
            self._has_fsdp = False
            self.clips.clear()

    def guard(self, function: Function) -> Function:
        """``function`` with a border: an exception is reported to all that watch, and None is returned."""

        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except Exception as error:
                self.report("unreadable", f"{function.__qualname__}: {type(error).__name__}: {error}")
                return None

        return run_eagerly(call, recursively=True)

    def report(self, reason: str, detail: str) -> None:
        """Report a fault to all that watch."""
        for watcher in self._watchers:
            watcher.faults.note("updates", reason, detail)

    def _patch(self) -> None:
        patches = self._patches
        if hasattr(clip_grad, "_clip_grads_with_norm_"):
            self._around_clip(clip_grad, "_clip_grads_with_norm_", "clip_grads_with_norm_", self._wrap_with_norm)
            self._around_clip(clip_grad, "_get_total_norm", "get_total_norm", self._wrap_total_norm)
        else:  # torch before 2.6
            self._around_clip(clip_grad, "clip_grad_norm_", "clip_grad_norm_", self._wrap_clip_norm)
        self._around_clip(clip_grad, "clip_grad_value_", "clip_grad_value_", self._wrap_clip_value)
        patches.attribute(torch.autograd, "backward", self._wrap_backward)
        self.scalers.patch(patches, self.guard)

    def _around_clip(self, module: Any, name: str, public: str, wrap: Callable[[Function], Function]) -> None:
        function = getattr(module, name, None)
        if function is None or self._patches.inside(function, wrap):
            return
        self._patches.attribute(module, name, wrap)  # undecorated: reaches only who looks the name up later
        self._patches.attribute(torch.nn.utils, public, wrap)

    def _wrap_with_norm(self, original: Function) -> Function:
        note, sealed = self.guard(self._note_norm), self.guard(seal)

        def clip(parameters: Any, max_norm: float, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling():
                return original(parameters, max_norm, total_norm, *args, **kwargs)
            parameters = _listed(parameters)
            noted = note(parameters, max_norm, total_norm)
            result = original(parameters, max_norm, total_norm, *args, **kwargs)
            if noted is not None:
                sealed(noted, parameters)
            return result

        return clip

    def _wrap_total_norm(self, original: Function) -> Function:
        note = self.guard(self._note_other_norm)

        def total_norm(tensors: Any, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or norm_type == 2:
                return original(tensors, norm_type, *args, **kwargs)
            tensors = _listed(tensors)
            result = original(tensors, norm_type, *args, **kwargs)
            note(tensors, result)
            return result

        return total_norm

    def _wrap_clip_norm(self, original: Function) -> Function:
        note, measure = self.guard(self._note_norm), self.guard(self._note_measured)
        announce = self.guard(self._announce)

        def clip(parameters: Any, max_norm: float, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling():
                return original(parameters, max_norm, norm_type, *args, **kwargs)
            parameters = _listed(parameters)
            if norm_type != 2:
                measure(parameters)
                return original(parameters, max_norm, norm_type, *args, **kwargs)
            announce(parameters)
            result = original(parameters, max_norm, norm_type, *args, **kwargs)
            note(parameters, max_norm, result, False)
            return result

        return clip

    def _wrap_clip_value(self, original: Function) -> Function:
        note = self.guard(self._note_measured)

        def clip(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            if not torch.compiler.is_compiling():
                parameters = _listed(parameters)
                note(parameters)
            return original(parameters, *args, **kwargs)

        return clip

    def _wrap_fsdp_clip(self, original: Function) -> Function:
        note, sealed = self.guard(self._note_norm), self.guard(seal)

        def clip(module: Any, max_norm: float, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
            result = original(module, max_norm, norm_type, *args, **kwargs)
            if norm_type == 2:
                parameters = list(module.parameters())
                noted = note(parameters, max_norm, result, False)
                if noted is not None:
                    sealed(noted, parameters)
            return result

        return clip

    def _wrap_backward(self, original: Function) -> Function:
        begin, end = self.guard(self._begin_backward), self.guard(self._end_backward)

        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or getattr(self._local, "is_backward", False):
                return original(tensors, *args, **kwargs)
            self._local.is_backward = True
            begin(tensors)
            try:
                return original(tensors, *args, **kwargs)
            finally:
                self._local.is_backward = False
                end()

        return run_eagerly(backward, recursively=False)

    def _begin_backward(self, tensors: Any) -> None:
        self.backward_count += 1
        if not self._has_fsdp and _FSDP in sys.modules:
            self._has_fsdp = True
            kind = sys.modules[_FSDP].FullyShardedDataParallel
            self._patches.attribute(kind, "clip_grad_norm_", self._wrap_fsdp_clip)
        root = tensors if isinstance(tensors, torch.Tensor) else None
        loss = self.scalers.loss_of(root) if root is not None and root.numel() == 1 else None
        for watcher in self._watchers:
            watcher.before_backward(loss)

    def _end_backward(self) -> None:
        for watcher in self._watchers:
            watcher.after_backward()

    def _note_norm(self, parameters: list[torch.Tensor], limit: Any, norm: Any, is_new: bool = True) -> Clip | None:
        if is_new:
            self._announce(parameters)
        norms: tuple[Number, ...]
        other, self._other_norm = self._other_norm, None
        if other is not None and other[0] is norm:
            norms, limit = other[1], None
        else:
            try:
                norms = (kept(whole(norm) if isinstance(norm, torch.Tensor) else norm),)
            except ShardedError:
                norms = ()
        return self._keep(parameters, norms, float(limit) if isinstance(limit, float | int) else None)

    def _note_other_norm(self, gradients: list[torch.Tensor], result: Any) -> None:
        """A norm of another order is no L2 norm: measure that beside it."""
        self._other_norm = (result, self._measured(gradients))

    def _note_measured(self, parameters: list[torch.Tensor]) -> None:
        self._announce(parameters)
        self._keep(parameters, self._measured([p.grad for p in parameters if p.grad is not None]), None)

    def _measured(self, gradients: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        try:
            return tuple(total_norms(gradients))
        except ShardedError:
            return ()

    def _announce(self, parameters: list[torch.Tensor]) -> None:
        for watcher in self._watchers:
            watcher.before_clip(parameters)

    def _keep(self, parameters: list[torch.Tensor], norms: tuple[Number, ...], limit: float | None) -> Clip | None:
        found = [p for p in parameters if p.grad is not None]
        if not found:
            return None
        self.clip_count += 1
        scale = self.scalers.scale_of(found[0])
        ids = frozenset(map(id, found))
        clip = Clip(self.clip_count, self.backward_count, ids, norms, scale, limit)
        self.clips.append(clip)
        return clip

    def _settled(self, optimizer: torch.optim.Optimizer) -> None:
        for watcher in self._watchers:
            watcher.settled(optimizer)

    def _scale_updated(self, scaler: torch.amp.GradScaler) -> None:
        for watcher in self._watchers:
            watcher.scale_updated(scaler)


def _listed(parameters: Any) -> list[torch.Tensor]:
    """The parameters as a list: a generator must not be used up before torch gets it."""
    return [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)


FUNNEL: Final = Funnel()
"""The funnel of this process."""
