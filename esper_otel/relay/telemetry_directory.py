"""The run that a relay follows in a telemetry directory of esper-lite: the one that is going on, else the next.

Nothing in esper-lite's log says that a run is over, and nothing but its directory says what it is called. So a run is
taken once it exists and is written to; an older one that lies there is not.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.layout import ESPER_LITE_RUNS, RUN_FILE, Series, newest_esper_lite_run, resolve
from esper_otel.log.reading.standing import SILENCE_S
from esper_otel.relay.console import say, say_once
from esper_otel.relay.lifecycle.evidence import is_open_here
from esper_otel.relay.options import Options, Subject, is_ours
from esper_otel.relay.pacing import Flag

POLL_S: Final = 0.2

GIVEN_UP_S: Final = 5.0
"""Silence of a run, which no process here has open, after which a newer one beside it takes its place."""

MANIFEST_S: Final = 2.0
"""Longest wait for ``run.json`` of a run that has a lock: it follows within milliseconds, and names commit and job."""

BESIDE_S: Final = 2.0
"""Time between two looks at the runs beside the followed one."""


def with_run(options: Options, stop: Flag) -> Options | None:
    """``options`` with the run itself in place of a directory of runs, which may be waited for.

    None when there is none, and ``stop`` was set.
    """
    if not options.follow or options.parent_pid is not None:
        return options
    said = False
    while True:
        run = _run_at(options.run)
        if run is not None:
            _wait_for_manifest(run)
            return msgspec.structs.replace(options, run=run)
        if stop.is_set():
            return None
        if not said:
            say(_waiting_for(options.run))
            said = True
        stop.wait(POLL_S)


def _wait_for_manifest(run: Path) -> None:
    deadline = time.monotonic() + MANIFEST_S
    while run.is_dir() and is_ours(run) and not (run / RUN_FILE).exists() and time.monotonic() < deadline:
        time.sleep(POLL_S)


class Silence:
    """The time since the last line of a followed log, and the run that took its place meanwhile."""

    def __init__(self, options: Options) -> None:
        """It begins now."""
        self._options = options
        self._began_at = time.monotonic()
        self._successor: Path | None = None
        self._beside_at = self._began_at
        self._beside: dict[Path, int] = {}

    def end(self) -> None:
        """A line was read."""
        self._began_at = time.monotonic()
        self._successor = None

    def look(self, subject: Subject) -> None:
        """See whether another run of esper-lite began in the same directory, or is written to beside this one."""
        if self._options.follow and subject.directory is not None and subject.directory.match(ESPER_LITE_RUNS):
            self._look_beside(subject.directory)
        is_given_up = time.monotonic() - self._began_at > GIVEN_UP_S
        if self._options.follow and not subject.is_ours and is_given_up and self._successor is None:
            self._successor = _successor_of(subject.directory)
            if self._successor is not None:
                say(f"{self._successor} began and is followed from now on; {subject.directory} is no longer written to")

    def _look_beside(self, run: Path) -> None:
        """Report runs of the same directory that grew while this one did: one relay follows one run."""
        if time.monotonic() - self._beside_at < BESIDE_S:
            return
        sizes = _sizes_beside(run)
        if self._began_at > self._beside_at:
            for other in (path for path, size in sizes.items() if size > self._beside.get(path, size)):
                say_once(
                    f"beside {other}",
                    f"{other} is written to at the same time; this relay follows {run} alone. Follow the other one"
                    f" with 'esper-otel relay {other} --follow'",
                )
        self._beside_at, self._beside = time.monotonic(), sizes

    def is_enough(self, *, has_begun: bool) -> bool:
        """Return True if the log need not be followed any longer; ``has_begun``: a line of it was read, ever."""
        idle_s = self._options.idle_exit_s
        is_idle = idle_s is not None and has_begun and time.monotonic() - self._began_at > idle_s
        return is_idle or self._successor is not None

    def next_options(self) -> Options | None:
        """Options to follow the successor; None where there is none."""
        if self._successor is None:
            return None
        is_stored_elsewhere = self._options.state_dir is not None
        return msgspec.structs.replace(self._options, run=self._successor, from_start=is_stored_elsewhere)

    def in_words(self) -> str:
        """Reason why following ends, where nothing in the log says that the run is over."""
        if not self._options.follow:
            return "the log is read to its end"
        return f"no line for {self._options.idle_exit_s or 0:g} s, so this relay ends; the run may go on"


def _successor_of(run: Path | None) -> Path | None:
    """The run that began in the same telemetry directory after ``run``, which is no longer written to."""
    if run is None or not run.match(ESPER_LITE_RUNS):
        return None
    newest = newest_esper_lite_run(run.parent)
    if newest is None or newest.name <= run.name or not _is_going_on(newest):
        return None
    return newest if not is_open_here(run / "events.jsonl") else None


def _sizes_beside(run: Path) -> dict[Path, int]:
    """Sizes of the logs of esper-lite's other runs in the same directory, by run."""
    sizes = {}
    for log in run.parent.glob(f"{ESPER_LITE_RUNS}/events.jsonl"):
        if log.parent != run:
            with suppress(OSError):
                sizes[log.parent] = log.stat().st_size
    return sizes


def _run_at(path: Path) -> Path | None:
    """The run to follow now; None while it is to be waited for."""
    try:
        source = resolve(path)[0]
    except FileNotFoundError:
        return path if is_ours(path) else None
    if not isinstance(source, Series):
        return path
    directory = source.directory
    is_one_of_many = directory.match(ESPER_LITE_RUNS) and directory.parent == path.resolve()
    return directory if not is_one_of_many or _is_going_on(directory) else None


def _is_going_on(run: Path) -> bool:
    log = run / "events.jsonl"
    try:
        is_fresh = time.time() - log.stat().st_mtime < SILENCE_S
    except FileNotFoundError:
        return False
    return is_fresh or is_open_here(log)


def _waiting_for(path: Path) -> str:
    newest = newest_esper_lite_run(path)
    if newest is None:
        return f"no run is in {path} yet; the first one is followed as soon as it begins"
    return f"{newest} is no longer written to; the next run is followed ('esper-otel relay {newest}' reads this one)"
