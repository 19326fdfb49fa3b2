"""Every update of every watched optimizer: loss, learning rate, gradient norm before and after clipping."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import torch
from torch.optim import optimizer as optimizers

from esper_otel.events import TrainingUpdate
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.names import parameters_of
from esper_otel.sensors.updating.clips import Clip, clips_of
from esper_otel.sensors.updating.funnel import FUNNEL, Watcher
from esper_otel.sensors.updating.late import LateNumbers, Number, kept
from esper_otel.sensors.updating.norms import ShardedError, total_norms
from esper_otel.sensors.updating.recent import RecentNorm
from esper_otel.sensors.updating.stepping import Outer, closure_of, is_capturing
from esper_otel.sensors.updating.unread import Names, Update, event_of

Optimizer = torch.optim.Optimizer

AT_THE_END_S: Final = 0.5
"""Longest wait for the device at the end of a run, for the numbers of the last updates."""

SHARDED: Final = (
    "gradients are sharded over ranks: their norm is known where the program clips by it, and is absent elsewhere, "
    "since it would take communication"
)
NO_GRADIENT: Final = (
    "no parameter of {} has a gradient when it steps; were parameters of {} replaced after it was made?"
)
FLATTENED: Final = "_fsdp_flattened"
"""Attribute by which the first FSDP marks its parameters."""

COMPILED: Final = (
    "optimizer.step() is inside torch.compile, which leaves no place to measure: its updates are not in the log. "
    "Compile the model or the loss, not the whole step"
)


class _State:
    """State of one optimizer between its updates."""

    def __init__(self) -> None:
        self.names: Names | None = None
        self.parameters = -1
        self.is_odd = False
        self.seen_clips = 0
        self.seen_backward = 0
        self.open: Update | None = None

    def settle(self) -> None:
        """Note that the clips and backward passes so far belong to no later update."""
        self.seen_clips, self.seen_backward = FUNNEL.clip_count, FUNNEL.backward_count


class UpdateSensor(Watcher):
    """Measures the updates of the optimizers that ``names`` has a name for.

    The norm before clipping is taken where the program clips, the one after it where the optimizer steps. With a
    closure (LBFGS, Lightning) both are those of its last evaluation. Nothing here waits for a device, starts
    communication or raises.
    """

    def __init__(
        self,
        names: Callable[[Optimizer], Names | None],
        *,
        faults: Faults,
        gradients: Callable[[Sequence[torch.Tensor], torch.Tensor | None], None] = lambda _, __: None,
        updated: Callable[[], None] = lambda: None,
        late: LateNumbers[Update] | None = None,
    ) -> None:
        """Create it; :meth:`start` begins.

        Args:
            names: called for an optimizer at its first update, and again when its parameters change.
            faults: where to report what cannot be measured.
            gradients: called with parameters whose gradients are final and not clipped yet, and with the loss scale
                that these are still multiplied by.
            updated: called after each update.
            late: reader of the numbers.
        """
        self._gradients = gradients
        self.faults = faults
        self._names = names
        self._updated = updated
        self._late = late or LateNumbers()
        self._states: weakref.WeakKeyDictionary[Optimizer, _State] = weakref.WeakKeyDictionary()
        self._counts: dict[Names, int] = {}
        self._recent: dict[Names, RecentNorm] = {}
        self._outer = Outer()
        self._taking = threading.Lock()
        self._loss: Number | None = None
        self._hooks: list[Any] = []
        self._is_on = False

    def start(self) -> None:
        """Begin to watch the funnel and all optimizers of the process."""
        self._is_on = True
        FUNNEL.add(self)
        self._hooks = [
            optimizers.register_optimizer_step_pre_hook(self._before_step),
            optimizers.register_optimizer_step_post_hook(self._after_step),
        ]

    def stop(self) -> None:
        """End watching; what was measured can still be taken."""
        self._is_on = False
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook.remove()
        FUNNEL.remove(self)

    def take_new(self) -> list[tuple[TrainingUpdate, int]]:
        """The same as :meth:`take`, for every update: a device is asked some times a second."""
        return self.take() if self._late.is_due() else []

    def take(self, wait_s: float = 0.0) -> list[tuple[TrainingUpdate, int]]:
        """Updates whose numbers are here, each with the Unix time of its end in ns, oldest first.

        ``wait_s``: longest wait for the device, at the end of a run.
        """
        try:
            with self._taking:
                found = self._late.take()
                deadline = time.monotonic() + wait_s
                while len(self._late) and time.monotonic() < deadline:
                    time.sleep(0.001)
                    found += self._late.take()
                events = [(self._event_of(update, numbers), update.time_ns) for update, numbers in found]
        except Exception as error:  # torch runs through its hooks now, so they are removed later
            self._is_on = False
            FUNNEL.remove(self)
            detail = f"{type(error).__name__}: {error}. Updates are no longer measured"
            self.faults.note("updates", "device_lost", detail)
            return []
        if dropped := self._late.dropped:
            self._late.dropped = 0
            self.faults.note("updates", "too_late", f"{dropped} updates are left out: the device is too far behind")
        return [(event, time_ns) for event, time_ns in events if event is not None]

    def _event_of(self, update: Update, numbers: list[float]) -> TrainingUpdate | None:
        return event_of(update, numbers, self._recent.setdefault(update.names, RecentNorm()))

    # The funnel

    def before_clip(self, parameters: Sequence[torch.Tensor]) -> None:
        """Let the layers be measured."""
        if parameters:
            self._gradients(parameters, FUNNEL.scalers.scale_of(parameters[0]))

    def before_backward(self, loss: torch.Tensor | None) -> None:
        """Keep the loss."""
        if loss is not None:
            self._loss = kept(loss)

    def settled(self, optimizer: Optimizer) -> None:
        """A scaler may have skipped the step: its clips belong to no later one."""
        state = self._states.get(optimizer)
        if state is not None:
            state.settle()

    # The optimizers

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            _note_compiled()
            return
        try:
            state = self._state(optimizer)
            if state is None or state.names is None or not self._outer.enter(optimizer):
                return
            state.open = Update(state.names)
            if not closure_of(args, kwargs):
                self._measure(optimizer, state, state.open)
        except Exception as error:  # somebody else's optimizer, parameters, tensors
            self._leave_out(optimizer, error)

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            return
        try:
            state = self._states.get(optimizer)
            if state is None or state.open is None:
                return
            update, state.open = state.open, None
            self._outer.leave()
            if closure_of(args, kwargs):
                self._measure(optimizer, state, update)
            update.number = self._counts[update.names] = self._counts.get(update.names, 0) + 1
            update.time_ns = time.time_ns()
            self._late.add(update, update.numbers())
            self._updated()
        except Exception as error:
            self._leave_out(optimizer, error)

    def _state(self, optimizer: Optimizer) -> _State | None:
        """State of an optimizer; its names are asked for at its first update and when it gets or loses parameters."""
        if not self._is_on:
            return None
        state = self._states.get(optimizer)
        if state is None:
            state = self._states[optimizer] = _State()
        if state.is_odd:
            return None
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        if state.parameters != count:
            state.parameters = count
            state.names = self._names(optimizer) or state.names
        return state

    def _measure(self, optimizer: Optimizer, state: _State, update: Update) -> None:
        parameters = [p for p in parameters_of(optimizer) if p.grad is not None]
        if not parameters:
            self.faults.note("updates", "no_gradient", NO_GRADIENT.format(update.names.optimizer, update.names.model))
        if is_capturing(parameters):
            self.faults.note("updates", "capture", "a CUDA graph is being captured: its updates have no gradient norms")
            return
        if self._loss is not None and state.seen_backward < FUNNEL.backward_count:
            update.loss = (self._loss,)
        lr = optimizer.param_groups[0].get("lr")
        update.lr = (kept(lr),) if lr is not None else ()
        _read_scaling(optimizer, update)
        clips = clips_of(FUNNEL.clips, parameters, state.seen_clips)
        if not clips:  # else they were called where nothing was clipped yet
            self._gradients(parameters, next((one for one in update.scale if isinstance(one, torch.Tensor)), None))
        self._measure_norms(parameters, clips, update)
        state.settle()

    def _measure_norms(self, parameters: list[torch.Tensor], clips: list[Clip], update: Update) -> None:
        covered = clips[0].parameters if len(clips) == 1 else frozenset().union(*(clip.parameters for clip in clips))
        rest = [p for p in parameters if id(p) not in covered]
        are_known = bool(clips) and all(clip.norms for clip in clips)
        if are_known and not rest:
            self._use(clips, update)
        try:
            if are_known and rest:
                beside = tuple(total_norms(_gradients(rest)))
                self._use(clips, update)
                update.pre += beside
            elif len(clips) == 1 and update.has_own_pre and clips[0].is_last(parameters):
                update.limit = clips[0].limit  # what is left follows from it; a second norm would cost as much again
                return
            update.post = tuple(total_norms(_gradients(parameters)))
        except ShardedError:
            update.limit = clips[0].limit if len(clips) == 1 and not rest else None
            if update.limit is None or not update.has_own_pre:
                self.faults.note("updates", "sharded", SHARDED)
        except Exception as error:  # a kind of tensor that torch cannot reduce
            self.faults.note("updates", "unsupported", f"{update.names.model}: {type(error).__name__}: {error}")

    def _use(self, clips: list[Clip], update: Update) -> None:
        """Take the norm before clipping from the clips."""
        update.has_own_pre = True
        update.pre = tuple(norm for clip in clips for norm in clip.norms)
        update.pre_scale = tuple(clip.scale for clip in clips[:1] if clip.scale is not None)

    def _leave_out(self, optimizer: Optimizer, error: Exception) -> None:
        """Measure no further update of this optimizer; one that cannot be hashed is tried, and counted, each time."""
        detail = f"{type(error).__name__}: {error}. Updates of this {type(optimizer).__name__} are not in the log"
        self.faults.note("updates", "unreadable", detail)
        with suppress(Exception):
            self._states[optimizer].is_odd = True


def _gradients(parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """The gradients, whole.

    Raises:
        ShardedError: of a parameter that FSDP has flattened each rank has a part, as a plain tensor.
    """
    if any(getattr(p, FLATTENED, False) for p in parameters):
        raise ShardedError
    return [p.grad for p in parameters if p.grad is not None]


def _read_scaling(optimizer: Optimizer, update: Update) -> None:
    """A fused optimizer under a scaler divides by the scale, and skips what overflowed, by itself."""
    scale, found_inf = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
    if isinstance(scale, torch.Tensor):
        update.scale = (kept(scale),)
    if isinstance(found_inf, torch.Tensor):
        update.found_inf = (kept(found_inf),)


def _note_compiled() -> None:
    """Report that a step is traced. torch.compile runs this while it traces, and breaks no graph for it."""
    FUNNEL.report("compiled", COMPILED)


_note_compiled._dynamo_marked_constant = True  # type: ignore[attr-defined]  # what torch.compiler.assume_constant_result sets; that imports torch._dynamo
