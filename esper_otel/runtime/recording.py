"""Recorders: functions, made from the declarations, that record the events of one class."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, ParamSpec

from esper_otel.events.declare import Event, Severity
from esper_otel.native import core
from esper_otel.native.plan import packed_shape
from esper_otel.runtime.run import Telemetry
from esper_otel.runtime.telemetry import Process, emit

__all__ = ["recorder"]

P = ParamSpec("P")

_MOST_SHAPES: Final = 64
"""Sets of keywords that one recorder remembers; a call with another one makes an event."""


def recorder(
    event: Callable[P, Event], *, group_id: str | None = None, severity: Severity | None = None
) -> Callable[P, None]:
    """Make the function that records events of one class: ``record(**fields)`` is ``emit(event(**fields))``.

    The same keywords, types and errors, and the same line in the log. Where the native part is in use, the values are
    copied and no event is made, which takes the interpreter's lock for a fraction of the time; later changes of a map
    or list then do no harm. Make it once, at the top of a module if you like: it records into the run that is
    configured when it is called, and does nothing without one. For a message, or a time of your own, use
    :func:`esper_otel.emit`. ::

        record = esper_otel.recorder(Decision)
        record(env_id=3, action_name="WAIT", total_reward=0.5)

    Args:
        event: the class of the events, one of :mod:`esper_otel.events` or your own.
        group_id: A/B group of the events; default the run's.
        severity: default that of the class.

    Raises:
        TypeError: ``event`` is no class of events.
        ValueError: ``severity`` is none.
    """
    if not (isinstance(event, type) and issubclass(event, Event)):
        raise TypeError(f"recorder() takes a class of events, such as esper_otel.events.Decision, not {event!r}")
    level = None if severity is None else _severity(severity)
    make: Callable[..., Event] = event

    def record(*args: P.args, **values: P.kwargs) -> None:
        emit(make(*args, **values), group_id=group_id, severity=level)

    module = core()
    return record if module is None else _native(module, event, group_id, level)


def _severity(given: Severity | str) -> Severity:
    try:
        return Severity(given)
    except ValueError:
        raise ValueError(f"recorder(severity={given!r}): expected one of {', '.join(Severity)}") from None


@cache  # no collector sees the circle of a recorder in C and the one in Python that it calls
def _native(module: Any, event: type[Event], group_id: str | None, severity: Severity | None) -> Callable[..., None]:
    """The recorder in C. It calls the one in Python where it cannot copy, and for keywords that come the first time."""
    native, fields = module.Recorder(), event.__struct_fields__
    shapes: dict[tuple[str, ...], bytes] = {}

    def slow(*args: Any, **values: Any) -> None:
        emit(event(*args, **values), group_id=group_id, severity=severity)
        names = tuple(values)
        if names not in shapes and len(shapes) < _MOST_SHAPES:
            shapes[names] = packed_shape(fields, names)
        telemetry = Process.active
        if isinstance(telemetry, Telemetry) and (native.queue is None or not native.queue.is_open):
            telemetry.bind(native, event, group_id, severity)

    native.slow, native.shapes = slow, shapes
    function: Callable[..., None] = native.record
    return function
