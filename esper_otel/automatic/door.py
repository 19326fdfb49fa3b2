"""The one way in behind every door: whether to record, which run, and when torch is there."""

from __future__ import annotations

import functools
import os
from importlib import import_module
from typing import Any, Final

from esper_otel.automatic.announce import announce
from esper_otel.automatic.imports import when_imported
from esper_otel.frameworks import ADAPTERS
from esper_otel.frameworks import SWITCH as FRAMEWORKS_SWITCH
from esper_otel.log import posix
from esper_otel.log.locks.lock import LockHeldError
from esper_otel.runtime import children
from esper_otel.runtime.launch import MARK
from esper_otel.runtime.run import Telemetry
from esper_otel.runtime.telemetry import Process, configure
from esper_otel.text.terminal import write_line_within

SWITCH: Final = "ESPER_OTEL_AUTOLOG"
_OFF: Final = frozenset({"0", "false", "no", "off"})
_SAY_S: Final = 0.05


class _Door:
    """The state of this module: whether the hooks are asked for, what to open a run with, and why it was refused."""

    is_open = False
    refusal = ""
    options: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed


def autolog(**options: Any) -> None:
    """Record the training of this process without another line in it.

    Every ``optimizer.step()`` becomes an event with its loss, learning rate and gradient norm before and after
    clipping. The time of data loading, backward and the optimizer, samples, checkpoints, memory and torch.compile come
    with it. Weights are the same with and without. Call it first, before or after torch is imported; the run ends with
    the process. In a worker a run begins with the first update that it makes, so that those that load data or play an
    environment record nothing. ``ESPER_OTEL_AUTOLOG=0`` switches it off.

    Args:
        options: those of :func:`esper_otel.configure`.

    Raises:
        TypeError, ValueError: an option makes no sense.
    """
    if is_off():
        return
    _Door.options = options
    if not posix.is_supported():
        write_line_within(f"esper_otel: {posix.UNSUPPORTED}", _SAY_S)
        return
    if not children.is_importing() and not children.is_worker():
        open_run()
    listen()


def listen() -> None:
    """Install the hooks once torch is imported, now if it is; a run is opened by the first update."""
    if is_off() or _Door.is_open or not posix.is_supported():
        return
    _Door.is_open = True
    when_imported("torch", _install)
    if not _is_off(FRAMEWORKS_SWITCH):
        for module, adapter, install in ADAPTERS:
            when_imported(module, functools.partial(_adapt, adapter, install))


def is_off() -> bool:
    """Return True where nothing is to be recorded: switched off, or this is the relay of a run."""
    return _is_off(SWITCH) or bool(os.environ.get(MARK))


def _is_off(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in _OFF


def open_run() -> bool:
    """Open a run unless there is one; returns whether events are recorded.

    Raises:
        TypeError, ValueError: an option of :func:`autolog` makes no sense.
    """
    active = Process.active
    if isinstance(active, Telemetry) and (active.is_recording or active is Process.in_memory):
        return True
    try:
        telemetry = configure(**_Door.options)
    except (RuntimeError, LockHeldError, OSError) as error:
        text = f"esper_otel: this process is not recorded: {type(error).__name__}: {error}"
        if text != _Door.refusal:  # autolog() asks, and the first update asks again
            _Door.refusal = text
            write_line_within(text, _SAY_S)
        return False
    telemetry.ends_with_process = True
    announce(telemetry)
    return True


def _install() -> None:
    """Install the hooks; a program must not fail because its telemetry does."""
    try:
        # By name: this module is imported where there is no torch.
        import_module("esper_otel.automatic.recorder").Recorder(open_run).start()
    except Exception as error:
        write_line_within(f"esper_otel: nothing is recorded: {type(error).__name__}: {error}", _SAY_S)


def _adapt(adapter: str, install: str) -> None:
    """Install the adapter of a framework; without it the training is recorded as any other is."""
    try:
        import_module("esper_otel.frameworks.scalars").SCALARS.start(open_run)
        getattr(import_module(f"esper_otel.frameworks.{adapter}"), install)()
    except Exception as error:
        text = f"the numbers of {adapter} are not recorded: {type(error).__name__}: {error}"
        write_line_within(f"esper_otel: {text}", _SAY_S)
