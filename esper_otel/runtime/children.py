"""Worker processes of a training process, which record nothing: their events are counted and reported.

Workers of ``multiprocessing`` import the trainer's script, or have a copy of its memory. A ``configure()`` that they
pass during import must not begin a run; in the function that a worker runs it does. ``multiprocess`` (of datasets and
pathos) and ``billiard`` (of Celery) are copies of ``multiprocessing`` under their own names.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any, Final, Protocol

from esper_otel.events.declare import Event
from esper_otel.log import posix
from esper_otel.log.locks.processes import is_alive, process_start
from esper_otel.log.queued import Queued
from esper_otel.log.writing.losses import Losses, LossReason, Speaker

ADVICE: Final = "call esper_otel.configure(run_id=…) in the function that the process runs to record a run of its own"

_PACKAGES: Final = ("multiprocessing", "multiprocess", "billiard")

_MARK: Final = "esper_otel_run"
"""Entry of the configuration that multiprocessing hands from a process to its children."""

_SLOTS: Final = 512
"""Counters that children share; children whose process ids leave the same remainder use the same one."""


class ChildTally:
    """Counts what forked children could not record, in memory that they share with their parent."""

    def __init__(self) -> None:
        """Start at 0.

        Raises:
            OSError: there is no memory to share.
        """
        self._slots = memoryview(mmap.mmap(-1, 8 * _SLOTS)).cast("Q")
        self._taken = 0

    def add(self) -> bool:
        """Count one event; returns True for the first of all children."""
        self._slots[1 + os.getpid() % (_SLOTS - 1)] += 1
        is_first, self._slots[0] = not self._slots[0], 1
        return is_first

    def take(self) -> int:
        """Number of events counted since the last call."""
        total = sum(self._slots[1:])
        new, self._taken = total - self._taken, total
        return new


class EventWriter(Protocol):
    """Writer of a run, or what replaces it where nothing is recorded."""

    losses: Losses
    speaker: Speaker

    @property
    def emitted_events(self) -> int:
        """Events handed over."""

    @property
    def written_events(self) -> int:
        """Events on disk."""

    def put(self, item: Queued) -> None:
        """Take an event."""

    def close(self, last: Event | None = None, *, timeout_s: float = 2.0) -> None:
        """Write the rest, then ``last``."""


class Unrecorded:
    """A writer without a log, with the interface of :class:`~esper_otel.log.writer.Writer`; reports the first event."""

    def __init__(self, reason: LossReason, text: str) -> None:
        """Create it; ``text`` tells why nothing is recorded."""
        self.losses = Losses()
        self.speaker = Speaker()
        self.written_events = 0
        self._reason = reason
        self._text = text

    @property
    def emitted_events(self) -> int:
        """Number of events handed over."""
        return sum(self.losses.totals.values())

    def put(self, item: Any) -> None:
        """Count an event. Never raises; takes up to 50 ms once, to report it."""
        self.losses.add(self._reason, 1, self._text)
        self.speaker.say_once("unrecorded", self._text)

    def close(self, last: Any = None, *, timeout_s: float = 0.0) -> None:
        """Do nothing: there is no log."""


class Forked(Unrecorded):
    """Writer of a forked child of a process that records a run: its parent reports what is lost, while it lives."""

    def __init__(self, run_id: str, recorder: int, tally: ChildTally | None) -> None:
        """Create it; ``recorder`` is the process that records ``run_id``, ``tally`` counts for it."""
        text = (
            f"events of a forked child process (process {os.getpid()}) are not recorded: its parent records run "
            f"{run_id} and reports how many were lost; {ADVICE}"
        )
        super().__init__(LossReason.CHILD_PROCESS, text)
        self._run_id = run_id
        self._recorder = recorder, process_start(recorder)
        self._tally = tally
        self._is_orphan = False

    def put(self, item: Any) -> None:
        """Count an event, in memory of the parent's as long as it lives."""
        self.losses.add(self._reason, 1, self._text)
        if self._is_orphan or self._is_orphaned():
            return
        if self._tally is None or self._tally.add():
            self.speaker.say_once("unrecorded", self._text)

    def _is_orphaned(self) -> bool:
        """Return True, and report it, if the recording process has ended, as that of a daemon has."""
        pid, start = self._recorder
        if os.getppid() == pid or is_alive(pid, start):
            return False
        self._is_orphan = True
        self.speaker.say_once(
            "orphan",
            f"events of process {os.getpid()} are recorded nowhere: the process that recorded run {self._run_id}, from "
            f"which it was forked, has ended. A program that goes to the background calls esper_otel.configure() when "
            f"it is there; configure(run_id={self._run_id!r}) now goes on with the run",
        )
        return True


class Newcomer:
    """Replaces a run in a spawned worker that configured nothing: counts events if its parent records a run."""

    is_recording = False
    run_id = group_id = ""
    clock_offset_ns = 0

    def __init__(self) -> None:
        """Start at 0; the worker does not know its parent's run before it has started."""
        self._writer: Unrecorded | None = None

    def put(self, item: Any) -> None:
        """Count an event and report the first, unless nothing is recorded anywhere."""
        run_id = parent_run()
        if run_id is None:
            return
        if self._writer is None:
            text = f"events of a worker process (process {os.getpid()}) are not recorded in run {run_id}; {ADVICE}"
            self._writer = Unrecorded(LossReason.CHILD_PROCESS, text)
        self._writer.put(item)


def unrecorded() -> Unrecorded:
    """Writer of a run that is not recorded: on a system without logs, reported at once, or in a worker."""
    if posix.is_supported():
        return imported()
    writer = Unrecorded(LossReason.UNSUPPORTED, posix.UNSUPPORTED)
    writer.speaker.say_once("unrecorded", posix.UNSUPPORTED)
    return writer


def imported() -> Unrecorded:
    """Writer of a worker that passed ``configure()`` while it imported a script, or that was handed a pickled run."""
    text = (
        f"events of process {os.getpid()} are not recorded: it has a run of another process, or configure() ran while "
        f"a worker imported a script, which begins no run; {ADVICE}"
    )
    return Unrecorded(LossReason.CHILD_PROCESS, text)


def is_importing() -> bool:
    """Return True in a worker, or a server that forks workers, that imports code and does not run a function yet."""
    if any(getattr(package.current_process(), "_inheriting", False) for package in _loaded()):
        return True  # spawn, forkserver, loky: the parent's main module
    return _imports(sys._getframe(1), is_worker=is_worker())


def _imports(frame: FrameType | None, *, is_worker: bool) -> bool:
    """Return True if a module is being imported above the function in which a worker, or the fork server, starts."""
    has_import = False
    while frame is not None:
        package, _, module = str(frame.f_globals.get("__name__")).partition(".")
        if package in _PACKAGES and module == "process":
            break
        if package in _PACKAGES and module == "forkserver" and frame.f_code.co_name == "main":
            return True
        has_import |= frame.f_code.co_name == "<module>" and (package, module) != ("__main__", "")
        frame = frame.f_back
    return is_worker and has_import


def is_worker() -> bool:
    """Return True if multiprocessing started this process."""
    return bool(_as_worker())


def at_worker_exit(callback: Callable[[], None]) -> None:
    """Have ``callback`` called at the end of this worker, which ends without what atexit has; no effect elsewhere."""
    for package in _as_worker():
        util = import_module(f"{package.__name__.partition('.')[0]}.util")
        util.Finalize(None, callback, exitpriority=-100)  # of a list that a worker clears at its start


def mark(run_id: str) -> None:
    """Tell workers started by this process that it records ``run_id``."""
    import_module("multiprocessing.process")
    for package in _loaded():
        configuration = getattr(package.current_process(), "_config", None)
        if isinstance(configuration, dict):
            configuration[_MARK] = run_id


def unmark() -> None:
    """End the run: workers started from now on have nothing to report."""
    for package in _loaded():
        getattr(package.current_process(), "_config", {}).pop(_MARK, None)


def parent_run() -> str | None:
    """Run recorded by the process that started this worker, if any."""
    marks = (getattr(package.current_process(), "_config", {}).get(_MARK) for package in _as_worker())
    return next((run_id for run_id in marks if isinstance(run_id, str)), None)


def _loaded() -> Iterator[Any]:
    """The modules of processes of those packages that are in use."""
    return (package for name in _PACKAGES if (package := sys.modules.get(f"{name}.process")) is not None)


def _as_worker() -> list[ModuleType]:
    """Those of them that started this process."""
    return [package for package in _loaded() if _parent_of(package) is not None]


def _parent_of(package: Any) -> object:
    """The process that started this one as its worker; ``billiard`` tells it on the process alone."""
    asked = getattr(package, "parent_process", None)
    return asked() if asked is not None else getattr(package.current_process(), "_parent_pid", None)
