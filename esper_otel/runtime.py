"""The public API: open a run's event log, emit events, close it.

There is one run per process. Unconfigured, and in forked children, everything here does nothing. No OpenTelemetry work
happens in this process: the relay, a child started by :func:`configure`, reads the log.

How a run ends is told by :func:`shutdown`. A process that ends without calling it is told of as well as can be: an
uncaught exception as ``failed`` (``interrupted`` for KeyboardInterrupt), any other regular exit (SystemExit, the end
of the script) as ``interrupted``, both when the interpreter ends. A process that is killed says nothing; its relay
notices. No signal handler is installed.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path
from time import monotonic_ns
from types import TracebackType
from typing import Literal

from esper_otel.events.declare import Event, Severity
from esper_otel.events.run import RunEnded
from esper_otel.launch import exit_code, start_relay
from esper_otel.log.lock import LockHeldError, forget_after_fork
from esper_otel.log.queued import LegacyLines
from esper_otel.log.writer import Writer
from esper_otel.run_files import RunFiles
from esper_otel.settings import Settings, Stability, gather

Outcome = Literal["finished", "failed", "interrupted", "died"]


class _Process:
    """What this process has configured: the one piece of state of this module."""

    active: Telemetry | None = None
    is_hooked = False


def configure(
    *,
    telemetry_dir: str | os.PathLike[str] | None = None,
    run_id: str | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    relay: bool | None = None,
    group_id: str = "default",
    linger_s: float | None = None,
    buffer_bytes: int = 64 * 1024 * 1024,
    segment_bytes: int = 64 * 1024 * 1024,
    heartbeat_s: float = 5.0,
    compress: bool = False,
) -> Telemetry:
    """Open the event log of a run and start its relay. Prints nothing; a disk that refuses is said a moment later.

    Args:
        telemetry_dir: directory of runs; default ``ESPER_OTEL_TELEMETRY_DIR``, else ``telemetry``.
        run_id: name of the run, the same on every rank; default ``ESPER_OTEL_RUN_ID``, else made up. An existing run
            is continued.
        rank: rank of this process; default ``RANK``, else 0.
        world_size: number of ranks; default ``WORLD_SIZE``, else 1.
        relay: start the relay (on the first process of each node); default ``ESPER_OTEL_RELAY``, else yes.
            ``OTEL_SDK_DISABLED=true`` prevents it.
        group_id: A/B group of events that do not name one.
        linger_s: seconds that the relay stays scrapable after the run; default ``ESPER_OTEL_LINGER``, else 30.
        buffer_bytes: encoded bytes that may wait for a slow disk.
        segment_bytes: size at which a segment of the log is closed.
        heartbeat_s: seconds between heartbeats; 0 for none.
        compress: compress closed segments.

    Raises:
        RuntimeError: this process is configured already.
        LockHeldError: another living process writes this rank of this run.
        ValueError: an argument or environment variable is not understood; the message names it.
    """
    if _Process.active is not None:
        raise RuntimeError(f"telemetry is configured already, for run {_Process.active.run_id}: call shutdown() first")
    settings = gather(
        telemetry_dir=telemetry_dir,
        run_id=run_id,
        rank=rank,
        world_size=world_size,
        relay=relay,
        group_id=group_id,
        linger_s=linger_s,
    )
    _Process.active = Telemetry(
        settings,
        buffer_bytes=buffer_bytes,
        segment_bytes=segment_bytes,
        heartbeat_s=heartbeat_s,
        compress=compress,
    )
    _hook_exits()
    return _Process.active


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
    telemetry = _Process.active
    if telemetry is None:
        return
    if timestamp_ns is None:
        timestamp_ns = monotonic_ns() + telemetry.clock_offset_ns
    telemetry.put((event, timestamp_ns, group_id or telemetry.group_id, severity, message))


def shutdown(
    outcome: Outcome = "finished", detail: str | None = None, timeout_s: float = 2.0, rounds: int | None = None
) -> None:
    """Say how the run ended, write what is queued and close the log. Does not wait for the relay.

    Args:
        outcome: how it ended.
        detail: what ended it, in words.
        timeout_s: longest wait for the disk, s; usually a few ms pass.
        rounds: rounds that were completed, if the training counts any.
    """
    telemetry, _Process.active = _Process.active, None
    if telemetry is not None:
        telemetry.close(outcome, detail, timeout_s, rounds)


class Telemetry:
    """A configured run. Made by :func:`configure`.

    Attributes:
        group_id: A/B group of events that do not name one.
        clock_offset_ns: what makes the monotonic clock the run's Unix time, ns.
        put: takes a queued event; :func:`emit` is the way to it.
    """

    def __init__(
        self, settings: Settings, *, buffer_bytes: int, segment_bytes: int, heartbeat_s: float, compress: bool
    ) -> None:
        """Open the log and start the relay; see :func:`configure`."""
        self._settings = settings
        self.group_id = settings.group_id
        # One clock for a run, anchored once: timestamps never step back when the wall clock is set.
        self.clock_offset_ns = time.time_ns() - monotonic_ns()
        self._started_s = time.monotonic()
        self._files = RunFiles(settings)
        self._relay_pid = 0
        self._failure: tuple[Outcome, str] | None = None
        self._writer = Writer(
            settings.run_dir,
            settings.run_id,
            settings.rank,
            buffer_bytes=buffer_bytes,
            segment_bytes=segment_bytes,
            heartbeat_s=heartbeat_s,
            compress=compress,
            legacy=_legacy_lines(settings.stability),
            legacy_repeats=settings.stability is Stability.DUPLICATE,
            now_ns=self.now_ns,
            on_open=self._files.restore,
        )
        self.put = self._writer.put
        self._open_surroundings()

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self._settings.run_id

    @property
    def run_dir(self) -> Path:
        """Directory of the run."""
        return self._settings.run_dir

    @property
    def relay_pid(self) -> int | None:
        """Process id of the relay that this process started; None when it started none."""
        return self._relay_pid or None

    @property
    def counters(self) -> dict[str, int]:
        """Events ``emitted`` and ``written`` so far, and what was lost as ``dropped.<reason>``."""
        lost = {f"dropped.{reason}": count for reason, count in self._writer.losses.totals.items()}
        return {"emitted": self._writer.emitted_events, "written": self._writer.written_events, **lost}

    def now_ns(self) -> int:
        """Unix time in ns on the run's clock, which was set once and does not step."""
        return monotonic_ns() + self.clock_offset_ns

    def note_failure(self, outcome: Outcome, detail: str) -> None:
        """Remember what is about to end the process, for :meth:`close` at its exit."""
        self._failure = (outcome, detail)

    def close(self, outcome: Outcome, detail: str | None, timeout_s: float, rounds: int | None = None) -> None:
        """Close the log; see :func:`shutdown`."""
        duration_s = time.monotonic() - self._started_s
        ended = RunEnded(outcome=outcome, detail=detail, rounds=rounds, duration_s=duration_s, reported_by="trainer")
        self._writer.close(ended, timeout_s=timeout_s)
        self._files.end(outcome)
        if self._relay_pid and (code := exit_code(self._relay_pid)):
            log = self.run_dir / "relay" / "relay.log"
            self._writer.speaker.say_once("relay", f"the relay ended early with code {code}; see {log}")

    def close_at_exit(self) -> None:
        """Close a run that nobody closed, with what is known of its end."""
        self.close(*(self._failure or ("interrupted", "the process ended without calling shutdown()")), timeout_s=2.0)

    def _open_surroundings(self) -> None:
        self._files.begin()
        if not self._settings.relay:
            return
        try:
            self._relay_pid = start_relay(self.run_dir, self._settings.linger_s)
        except OSError as error:
            self._writer.speaker.say_once("relay", f"the relay could not be started: {error}. The log is written.")


def _legacy_lines(stability: Stability) -> LegacyLines | None:
    if stability is Stability.DOMAINS:
        return None
    from esper_otel.upstream.legacy import LegacyWriter  # only while names migrate

    return LegacyWriter(stability.value)


def _hook_exits() -> None:
    """See to ends of this process other than shutdown(). Once per process: fork hooks cannot be taken back."""
    if _Process.is_hooked:
        return
    _Process.is_hooked = True
    os.register_at_fork(after_in_child=_forget_in_child)
    atexit.register(_close_at_exit)
    previous = sys.excepthook

    def note_and_pass_on(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if _Process.active is not None:
            outcome: Outcome = "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
            _Process.active.note_failure(outcome, f"{kind.__name__}: {error}"[:500])
        previous(kind, error, trace)

    sys.excepthook = note_and_pass_on


def _forget_in_child() -> None:
    """A forked child has copies of the queue and the locks but not the threads: it records nothing."""
    _Process.active = None
    forget_after_fork()


def _close_at_exit() -> None:
    telemetry, _Process.active = _Process.active, None
    if telemetry is not None:
        telemetry.close_at_exit()


__all__ = ["LockHeldError", "Outcome", "Telemetry", "configure", "emit", "shutdown"]
