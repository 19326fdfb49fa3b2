"""A run in the training process: its log, its relay, and its losses."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from esper_otel.events.declare import Event
from esper_otel.events.run import RunEnded
from esper_otel.log.layout import relay_directory
from esper_otel.log.locks.lock import LockHeldError
from esper_otel.log.queued import LegacyLines
from esper_otel.log.writer import Writer
from esper_otel.log.writing.losses import LossReason
from esper_otel.runtime import children, exits
from esper_otel.runtime.advice import Advice
from esper_otel.runtime.clock import RunClock
from esper_otel.runtime.exits import Outcome
from esper_otel.runtime.identity import PARENT_RUN
from esper_otel.runtime.launch import RelayProcess, start_relay
from esper_otel.runtime.relay_environment import checked_environment
from esper_otel.runtime.run_files import RunFiles
from esper_otel.runtime.settings import Settings, Stability
from esper_otel.runtime.watch import RelayWatch, hurry_earlier, relay_entry
from esper_otel.text.extras import first_missing, missing

_POLL_S = 0.05


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the log; see :func:`esper_otel.configure`."""

    buffer_bytes: int
    segment_bytes: int
    heartbeat_s: float
    compress: bool


class Telemetry(RunClock):
    """A configured run. Made by :func:`esper_otel.configure`.

    A copy of it is the same run; in another process, to which it was pickled, it counts what it cannot record.

    Attributes:
        group_id: A/B group of events that do not name one.
        clock_offset_ns: what makes the monotonic clock the run's Unix time, ns.
        put: takes a queued event; :func:`esper_otel.emit` is the way to it.
        advice: findings of the relay about this run.
        is_recording: whether events go to a log, not only into counters.
        has_ended: whether the log is closed.
        ends_with_process: whether a regular end of the process is the end of the run, which nobody else reports.
    """

    def __init__(self, settings: Settings, options: LogOptions | None) -> None:
        """Open the log and start the relay; without ``options`` record nothing, as in a worker process.

        Raises:
            LockHeldError: another living process writes this rank of this run.
        """
        super().__init__(self._report_step)
        self._settings = settings
        self.group_id = settings.group_id
        self._started_s = time.monotonic()
        self._pid = os.getpid()
        self._files = RunFiles(settings, options.heartbeat_s if options is not None else 0.0)
        self._watch: RelayWatch | None = None
        self._tally: children.ChildTally | None = None
        self._failure: tuple[Outcome, str] | None = None
        self._end: tuple[Outcome, str | None] | None = None
        self._closing = threading.Lock()
        self.advice = Advice()
        self.has_ended = False
        self.is_recording = False
        self.ends_with_process = False
        self._writer: children.EventWriter = children.unrecorded() if options is None else self._open(options)
        self.put = self._writer.put
        if self.is_recording:
            try:
                self._open_surroundings()
            except Exception as error:  # the log is open: whatever is wrong beside it does not concern training
                text = f"run.json or the relay failed: {type(error).__name__}: {error}. Events are written to the log."
                self._writer.speaker.say_once("surroundings", text)
            except BaseException:  # Ctrl-C: nobody would have the run
                self.close_at_exit()
                raise

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self._settings.run_id

    @property
    def run_dir(self) -> Path:
        """Directory of the run, under its present name."""
        return self._files.run_dir

    @property
    def rank(self) -> int:
        """Rank of this process in the run."""
        return self._settings.rank

    @property
    def relay_pid(self) -> int | None:
        """Process id of the relay that this process started; None when it started none, or none runs."""
        relay = self._watch.relay if self._watch is not None else None
        return relay.pid if relay is not None else None

    @property
    def counters(self) -> dict[str, int]:
        """Numbers of events ``emitted`` and ``written`` so far, and of losses as ``dropped.<reason>``."""
        self._count_children()
        lost = {f"dropped.{reason}": count for reason, count in self._writer.losses.totals.items()}
        return {"emitted": self._writer.emitted_events, "written": self._writer.written_events, **lost}

    def bind(self, recorder: Any, event: type[Event], group_id: str | None, severity: str | None) -> None:
        """Have a recorder in C copy the values of ``event`` into this run's queue, where that can be done."""
        if isinstance(self._writer, Writer):
            self._writer.bind(recorder, event, group_id or self.group_id, severity)

    def note_failure(self, outcome: Outcome, detail: str) -> None:
        """Remember the exception that is about to end the process, for :meth:`close` at its exit; the first counts."""
        self._failure = self._failure or (outcome, detail)

    def close(
        self,
        outcome: Outcome,
        detail: str | None,
        timeout_s: float,
        rounds: int | None = None,
        wait_s: float | None = None,
    ) -> bool:
        """Close the log; see :func:`esper_otel.shutdown`. One that an exception broke off is completed."""
        if not self.is_recording or self.has_ended or not self._closing.acquire(blocking=False):
            return False
        try:
            self._end = outcome, detail
            children.unmark()
            os.environ.pop(PARENT_RUN, None)
            if self._watch is not None:
                self._watch.close()
            self._count_children()
            took_s = time.monotonic() - self._started_s
            ended = RunEnded(outcome=outcome, detail=detail, rounds=rounds, duration_s=took_s, reported_by="trainer")
            self._writer.close(ended, timeout_s=timeout_s)
            self._files.end(outcome)
            self.has_ended = True
        finally:
            self._closing.release()
        return self._wait_for_delivery(self._settings.wait_s if wait_s is None else wait_s)

    def close_at_exit(self) -> None:
        """Close a run that was never closed, with the known cause of its end."""
        failure = self._end or self._failure
        error = sys.exc_info()[1]  # where multiprocessing ends a worker
        if failure is None and error is not None:
            failure = exits.failure_of(error)
        if failure is None and self.ends_with_process:
            self.close("finished", None, timeout_s=2.0)
            return
        self.close(*(failure or ("interrupted", "the process ended without calling shutdown()")), timeout_s=2.0)

    def forget_in_child(self) -> None:
        """In a forked child: count its events in memory that the parent reads."""
        self._watch = None
        if isinstance(self._writer, Writer):
            self._writer.refuse_copies()
        if self.is_recording:
            self.is_recording = False
            self._writer = children.Forked(self.run_id, self._pid, self._tally)
            self.put = self._writer.put

    def __copy__(self, _: object = None) -> Telemetry:
        """The run itself: there is one."""
        return self

    __deepcopy__ = __copy__

    def __reduce__(self) -> tuple[Any, ...]:
        """Reduce the run to its replacement in another process."""
        return Telemetry, (self._settings, None)

    def _open(self, options: LogOptions) -> children.EventWriter:
        """The log's writer, or a counter of losses if no thread can be started."""
        settings = self._settings
        try:
            writer = Writer(
                settings.run_dir,
                settings.run_id,
                settings.rank,
                buffer_bytes=options.buffer_bytes,
                segment_bytes=options.segment_bytes,
                heartbeat_s=options.heartbeat_s,
                compress=options.compress,
                legacy=_legacy_lines(settings.stability),
                legacy_repeats=settings.stability is Stability.DUPLICATE,
                now_ns=self.now_ns,
                settle=self.settle,
                clock=self.state,
                on_open=self._files.restore,
                on_move=self._files.move,
            )
        except LockHeldError as error:
            if settings.is_named_by_caller:
                raise
            return self._refused(f"{error}. If they are ranks of one training, tell RANK and WORLD_SIZE")
        except Exception as error:  # threads, memory or descriptors are used up: training goes on without telemetry
            return self._refused(f"{type(error).__name__}: {error}")
        self.is_recording = True
        if options.compress and (package := first_missing(("zstandard",))):
            text = f"closed segments stay uncompressed ({missing(package, 'compress')})"
            writer.speaker.say_once("compress", text)
        return writer

    def _refused(self, reason: str) -> children.EventWriter:
        text = f"run {self._settings.run_id} is not recorded: {reason}. Training continues."
        refused = children.Unrecorded(LossReason.WRITE_FAILED, text)
        refused.speaker.say_once("unrecorded", text)
        return refused

    def _open_surroundings(self) -> None:
        speaker = self._writer.speaker
        variables, problems = checked_environment(os.environ) if self._settings.relay else ({}, [])
        for problem in (*self._settings.problems, *problems):
            speaker.say_once(problem, problem)
        self._files.begin()
        children.mark(self.run_id)
        os.environ.update({PARENT_RUN: f"{os.getpid()} {self.run_id}"})
        try:
            self._tally = children.ChildTally()
        except OSError:
            self._tally = None  # children then report for themselves alone

        of_node = self._settings.is_one_of_nodes

        def start() -> RelayProcess:
            relay = start_relay(self.run_dir, self._settings.linger_s, variables, of_node=of_node)
            hurry_earlier(relay)
            return relay

        self._watch = RelayWatch(
            start if self._settings.relay else None,
            self.run_dir,
            speaker,
            every_look=self._look_after,
            directory=relay_directory(of_node=of_node),
        )

    def _report_step(self, seconds: float) -> None:
        self._writer.speaker.say_once(
            "clock",
            f"the clock of this machine moved by {seconds:+.0f} s: it was set, or the machine was suspended. "
            "Times in the log follow it.",
        )

    def _count_children(self) -> None:
        if self.is_recording and self._tally is not None and (count := self._tally.take()):
            detail = "emitted in forked child processes, which do not record"
            self._writer.losses.add(LossReason.CHILD_PROCESS, count, detail)

    def _look_after(self) -> None:
        self._count_children()
        self._files.restore()
        with suppress(OSError, ValueError):
            self.advice.look(self.run_dir)
        if self.advice.reason:
            text = f"critical finding: {self.advice.reason} should_stop() says so from now on."
            self._writer.speaker.say_once("advice", text)

    def _wait_for_delivery(self, wait_s: float) -> bool:
        """Wait until the relay has delivered everything; returns True if it has."""
        relay = self._watch.relay if self._watch is not None else None
        if relay is None:
            return False
        deadline = time.monotonic() + wait_s
        while not (delivered := self._delivered_by(relay.pid)) and time.monotonic() < deadline:
            if delivered is False or not relay.is_alive():
                return self._delivered_by(relay.pid) is True
            time.sleep(_POLL_S)
        return delivered is True

    def _delivered_by(self, pid: int) -> bool | None:
        """Return True if the relay ``pid`` delivered everything; None while it is delivering."""
        delivered = relay_entry(self.run_dir, pid).get("delivered")
        return delivered if isinstance(delivered, bool) else None


def _legacy_lines(stability: Stability) -> LegacyLines | None:
    if stability is Stability.DOMAINS:
        return None
    from esper_otel.esper_lite.dialect.legacy import LegacyWriter  # only while names migrate

    return LegacyWriter(stability.value)
