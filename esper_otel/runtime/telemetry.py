"""The public API: open a run's event log, emit events, close it.

There is one run per process. Unconfigured, everything here does nothing; in worker processes events are counted and
the loss is reported (:mod:`esper_otel.runtime.children`). No OpenTelemetry work happens in this process: the relay, a
process that :func:`configure` starts and supervises, reads the log.

:func:`shutdown` records how a run ended. Without it, the outcome is inferred where possible: an uncaught exception is
``failed`` (``interrupted`` for KeyboardInterrupt), as is ``sys.exit()`` with a status other than 0; any other regular
exit (the end of the script) is ``interrupted``, both when the interpreter, or the worker of multiprocessing, ends. A
killed process records nothing; its relay notices. No signal handler is installed.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterable
from time import monotonic_ns
from types import TracebackType

from esper_otel.events.declare import Event, Severity
from esper_otel.log import posix
from esper_otel.log.locks.lock import LockHeldError
from esper_otel.runtime import children, endings, exits
from esper_otel.runtime.arguments import checked_seconds, checked_switch, checked_whole
from esper_otel.runtime.exits import Outcome
from esper_otel.runtime.run import LogOptions, Telemetry
from esper_otel.runtime.settings import Settings, gather
from esper_otel.runtime.watch import forget_earlier


class Process:
    """The state of this module: the run that this process has configured.

    Attributes:
        active: the run that takes events.
        in_memory: the run of a test, which :func:`configure` then returns (:mod:`esper_otel.testing`).
        last: the run that was configured last; an exception (Ctrl-C) may have broken off its :func:`shutdown`.
        is_hooked: whether the hook for uncaught exceptions is installed.
        turn: held by the thread that configures.
    """

    active: Telemetry | children.Newcomer | None = None
    in_memory: Telemetry | None = None
    last: Telemetry | None = None
    is_hooked = False
    turn = threading.RLock()


def configure(
    *,
    telemetry_dir: str | os.PathLike[str] | None = None,
    run_id: str | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    relay: bool | None = None,
    group_id: str = "default",
    linger_s: float | None = None,
    tags: Iterable[str] | None = None,
    notes: str | None = None,
    buffer_bytes: int = 64 * 1024 * 1024,
    segment_bytes: int = 64 * 1024 * 1024,
    heartbeat_s: float = 5.0,
    compress: bool = False,
) -> Telemetry:
    """Open the event log of a run and start its relay.

    An invalid variable is reported in one line on standard error, and a default applies. Disk errors are
    reported asynchronously, once each. In a worker of multiprocessing that imports a script this begins no run, nor
    does it on Windows, which is reported.

    Args:
        telemetry_dir: directory of runs; default ``ESPER_OTEL_TELEMETRY_DIR``, else ``telemetry``.
        run_id: name of the run, the same on every rank; default ``ESPER_OTEL_RUN_ID``, else made up. An existing run
            is continued.
        rank: rank of this process; default ``RANK``, else 0.
        world_size: number of ranks; default ``WORLD_SIZE``, else 1.
        relay: start the relay (on the first process of each node); default ``ESPER_OTEL_RELAY``, else yes.
            ``OTEL_SDK_DISABLED=true`` prevents it. Needs the extra ``relay``: without it events are only logged.
        group_id: A/B group of events that do not name one.
        linger_s: seconds that the relay stays scrapable after the run; default ``ESPER_OTEL_LINGER``, else 30.
        tags: words to find the run by, in ``run.json``; default ``ESPER_OTEL_TAGS``, with commas between them.
        notes: text about the run, in ``run.json``; default ``ESPER_OTEL_NOTES``.
        buffer_bytes: encoded bytes that may wait for a slow disk; 1 or more.
        segment_bytes: size at which a segment of the log is closed; 1 or more.
        heartbeat_s: seconds between heartbeats; 0 for none.
        compress: compress closed segments; needs the extra ``compress``.

    Raises:
        RuntimeError: this process is already configured.
        LockHeldError: another living process writes this rank of this run.
        TypeError, ValueError: an argument makes no sense; the message names it.
    """
    settings = gather(
        telemetry_dir=telemetry_dir,
        run_id=run_id,
        rank=rank,
        world_size=world_size,
        relay=relay,
        group_id=group_id,
        linger_s=linger_s,
        tags=tags,
        notes=notes,
    )
    options = LogOptions(
        buffer_bytes=checked_whole("buffer_bytes", buffer_bytes, 1),
        segment_bytes=checked_whole("segment_bytes", segment_bytes, 1),
        heartbeat_s=checked_seconds("heartbeat_s", heartbeat_s),
        compress=checked_switch("compress", compress),
    )
    with Process.turn:
        return _begin(settings, options)


def emit(
    event: Event,
    *,
    group_id: str | None = None,
    severity: Severity | None = None,
    message: str | None = None,
    timestamp_ns: int | None = None,
) -> None:
    """Record an event: it is on disk within 50 ms. Takes a fraction of a microsecond, never blocks, never raises.

    Maps and lists in the event must not be changed afterwards: it is encoded a moment later, on another thread.

    Args:
        event: the event.
        group_id: A/B group; default the run's.
        severity: default that of the event's class.
        message: text for people.
        timestamp_ns: Unix time in ns; default now.
    """
    telemetry = Process.active
    if telemetry is None:
        return
    if timestamp_ns is None:
        timestamp_ns = monotonic_ns() + telemetry.clock_offset_ns
    telemetry.put((event, timestamp_ns, group_id or telemetry.group_id, severity, message))


def should_stop() -> bool:
    """Return True once the relay (``--alerts``, ``ESPER_OTEL_ALERTS=1``) found something critical about this run.

    For a trainer that wants to obey: it saves what it needs and ends. Reads one attribute: takes a fraction of a
    microsecond, never blocks, never raises; False without a run, or without alerts. A thread looks for findings every
    second. Each rank asks for itself and may learn it a moment later than another: ranks that must end together share
    the answer first, for instance by an all-reduce.
    """
    telemetry = Process.active
    return isinstance(telemetry, Telemetry) and bool(telemetry.advice.reason)


def shutdown(
    outcome: Outcome = "finished",
    detail: str | None = None,
    timeout_s: float = 2.0,
    rounds: int | None = None,
    wait_s: float | None = None,
) -> bool:
    """Record how the run ended, write what is queued, close the log, and wait for the relay if asked to.

    Args:
        outcome: how it ended.
        detail: cause of the end, as text.
        timeout_s: longest wait for the disk, s; usually a few ms pass. Where events cannot be written in it, a second
            more for the lines that report them.
        rounds: rounds that were completed, if the training counts any.
        wait_s: longest wait for the relay to deliver everything by OTLP, s; for processes whose end is the end of
            their relay. Default ``ESPER_OTEL_SHUTDOWN_WAIT``, else 0, and 10 in the first process of a container.

    Returns:
        Whether the relay that this process started is known to have read the whole log and delivered everything. False
        where it is not known yet, the relay is gone, or none was started.

    Raises:
        TypeError, ValueError: ``wait_s`` is no number of seconds.
    """
    wait_s = None if wait_s is None else checked_seconds("wait_s", wait_s)
    endings.hand_over()
    telemetry = Process.last if Process.active is None else Process.active
    Process.active = None
    return isinstance(telemetry, Telemetry) and telemetry.close(outcome, detail, timeout_s, rounds, wait_s)


def _begin(settings: Settings, options: LogOptions) -> Telemetry:
    in_memory, active = Process.in_memory, Process.active
    if active is not None and active is not in_memory and active.is_recording:
        raise RuntimeError(f"telemetry is already configured, for run {active.run_id}: call shutdown() first")
    if in_memory is not None:
        Process.active = in_memory
        return in_memory
    if Process.last is not None:
        Process.last.close_at_exit()  # no effect unless its end was broken off
    records = posix.is_supported() and not children.is_importing()
    telemetry = Process.active = Process.last = Telemetry(settings, options if records else None)
    children.at_worker_exit(_close_at_exit)
    _hook_exceptions()
    return telemetry


def _hook_exceptions() -> None:
    """Have the cause of an end noted. Once per process."""
    if Process.is_hooked:
        return
    Process.is_hooked = True
    exits.watch_main()
    previous = sys.excepthook

    def note_and_pass_on(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(Process.active, Telemetry) and (failure := exits.failure_of(error)) is not None:
            Process.active.note_failure(*failure)
        previous(kind, error, trace)

    sys.excepthook = note_and_pass_on


def _forget_in_child() -> None:
    """A forked child has copies of the queue and the locks but not the threads: it records nothing."""
    Process.turn, Process.last = threading.RLock(), None
    forget_earlier()
    endings.forget()
    if isinstance(Process.active, Telemetry):
        Process.active.forget_in_child()


def _close_at_exit() -> None:
    endings.hand_over()
    telemetry = Process.last if Process.active is None else Process.active
    Process.active = None
    if isinstance(telemetry, Telemetry):
        if (failure := exits.failure()) is not None:
            telemetry.note_failure(*failure)
        telemetry.close_at_exit()


posix.in_forked_children(_forget_in_child)
exits.note_exits()
atexit.register(_close_at_exit)  # now: a program's own handlers, which come later, run before it and may still emit
if children.is_importing() or children.is_worker():
    Process.active = children.Newcomer()


__all__ = ["LockHeldError", "Outcome", "Telemetry", "configure", "emit", "should_stop", "shutdown"]
