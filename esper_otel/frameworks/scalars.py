"""Numbers that a program logs, put together into events: those of one step that belong to one event are one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from esper_otel.events import Event, Scalar, SensorFault
from esper_otel.frameworks.tags import ALONE_NO_EVENT, BY_NAME, WHOLE, Tag
from esper_otel.log.posix import in_forked_children
from esper_otel.runtime.endings import before_end
from esper_otel.runtime.telemetry import emit
from esper_otel.text.terminal import write_line_within

MOST_TAGS: Final = 100
"""Tags of a process that become scalars; the numbers of more are left out and counted."""

QUIET_S: Final = 1.0
"""Time without a further number after which those of a step are complete."""

SAY_S: Final = 0.05


class _Group:
    """Fields of one event that is not complete yet."""

    def __init__(self, step: int | None) -> None:
        self.step = step
        self.began_ns = time.time_ns()
        self.values: dict[str, float] = {}
        self.tags: dict[str, str] = {}


class Scalars:
    """Takes the numbers of a process. Thread-safe; nothing here raises."""

    def __init__(self) -> None:
        """Record nothing until :meth:`start`."""
        self._open_run: Callable[[], bool] | None = None
        self._lock = threading.Lock()
        self._quiet = threading.local()
        self._groups: dict[type[Event], _Group] = {}
        self._tags: set[str] = set()
        self._left_out = 0
        self._last_s = 0.0
        self._is_off = self._is_open = self._is_watched = False

    def start(self, open_run: Callable[[], bool]) -> None:
        """Record from now on; ``open_run`` opens a run unless there is one, and returns whether events are recorded."""
        if self._open_run is None:
            in_forked_children(self._in_child)
        self._open_run = open_run

    def take(
        self,
        values: Mapping[str, Any],
        step: Any = None,
        *,
        is_whole: bool = False,
        names: Mapping[str, Tag] = BY_NAME,
    ) -> None:
        """Take numbers by tag that were logged for one step; ``is_whole``: no more of it will come.

        Those under one of ``names`` are fields of an event.
        """
        if self._open_run is None or self._is_off or getattr(self._quiet, "is_on", False):
            return
        try:
            found = {tag: number for tag, value in values.items() if (number := _number(value)) is not None}
            if found and self._is_recorded():
                self._add(found, step if isinstance(step, int) else None, names, is_whole=is_whole)
        except Exception as error:
            self.fail(error)

    def emit(self, event: Event) -> None:
        """Emit an event of an adapter; opens the run before the first."""
        if self._open_run is not None and not self._is_off and self._is_recorded():
            emit(event)

    def silently(self, call: Callable[[], Any]) -> Any:
        """Call what logs numbers that were taken already, without taking them again."""
        was_on = getattr(self._quiet, "is_on", False)
        self._quiet.is_on = True
        try:
            return call()
        finally:
            self._quiet.is_on = was_on

    def fail(self, error: Exception) -> None:
        """Stop taking numbers after an exception of ours, and report it."""
        self._is_off = True
        detail = f"{type(error).__name__}: {error}"[:300]
        with suppress(Exception):
            emit(SensorFault(sensor="frameworks", reason="unreadable", count=1, detail=detail))
        write_line_within(f"esper_otel: the numbers that the program logs are not recorded any more: {detail}", SAY_S)

    def flush(self) -> None:
        """Emit what is incomplete as it is."""
        with self._lock:
            groups, self._groups = self._groups, {}
            left_out, self._left_out = self._left_out, 0
        for event, group in groups.items():
            self._finish(event, group)
        if left_out:
            detail = f"numbers under more than {MOST_TAGS} tags"
            emit(SensorFault(sensor="frameworks", reason="too_many_tags", count=left_out, detail=detail))

    def _in_child(self) -> None:
        """A forked child: a run that was opened is its parent's; otherwise the child may train by itself."""
        self._lock = threading.Lock()
        self._groups = {}
        self._is_off, self._is_watched = self._is_open, False

    def _is_recorded(self) -> bool:
        if not self._is_open:
            self._is_open = True
            assert self._open_run is not None
            self._is_off = not self._open_run()
            before_end(self.flush)
        return not self._is_off

    def _add(self, found: Mapping[str, float], step: int | None, names: Mapping[str, Tag], *, is_whole: bool) -> None:
        with self._lock:
            done = [(event, self._groups.pop(event)) for event, group in [*self._groups.items()] if group.step != step]
            for name in found.keys() & names.keys():
                done += self._put(names[name], found[name], step)
            if is_whole:
                done += self._groups.items()
                self._groups = {}
            self._last_s = time.monotonic()
            must_watch = bool(self._groups) and not self._is_watched
            self._is_watched = self._is_watched or must_watch
        for event, group in done:
            self._finish(event, group)
        for name in found:
            if name not in names:
                self._scalar(name, found[name], step)
        if must_watch:
            with suppress(RuntimeError):  # no thread can be started: the next number or the end completes it
                threading.Thread(target=self._watch, name="esper-otel-scalars", daemon=True).start()

    def _put(self, tag: Tag, value: float, step: int | None) -> list[tuple[type[Event], _Group]]:
        """Put a number into its event's group; returns the earlier group if that had the field already."""
        group = self._groups.get(tag.event)
        is_next = group is not None and tag.field in group.values
        old = [(tag.event, group)] if group is not None and is_next else []
        if group is None or is_next:
            group = self._groups[tag.event] = _Group(step)
        group.values[tag.field] = value * tag.scale
        group.tags[tag.field] = tag.name
        return old

    def _finish(self, event: type[Event], group: _Group) -> None:
        if ALONE_NO_EVENT.issuperset(group.values):
            for field, value in group.values.items():
                self._scalar(group.tags[field], value, group.step)
            return
        fields = {field: _whole(value) if field in WHOLE else value for field, value in group.values.items()}
        emit(msgspec.convert({**fields, "env_steps": group.step}, event), timestamp_ns=group.began_ns)

    def _scalar(self, name: str, value: float, step: int | None) -> None:
        if name not in self._tags and len(self._tags) >= MOST_TAGS:
            if not self._left_out:
                text = f"numbers under more than {MOST_TAGS} tags are not recorded; {name!r} is one of them"
                write_line_within(f"esper_otel: {text}", SAY_S)
            self._left_out += 1
            return
        self._tags.add(name)
        emit(Scalar(tag=name, value=value, step=step))

    def _watch(self) -> None:
        """Complete the groups once no number has come for a while; the thread ends when none is left."""
        lock = self._lock
        while True:
            time.sleep(QUIET_S / 2)
            with lock:
                if time.monotonic() - self._last_s < QUIET_S:
                    continue
                self._is_watched = False
            with suppress(Exception):
                self.flush()
            return


def _number(value: Any) -> float | None:
    """The number, or None for texts, pictures and the like. A tensor was read by the program's own logging before."""
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value)
    except Exception:  # whatever a foreign object raises
        return None


def _whole(value: float) -> int | None:
    with suppress(ValueError, OverflowError):
        return round(value)
    return None


SCALARS: Final = Scalars()
"""Those of this process."""
