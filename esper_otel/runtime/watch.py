"""Supervision of the relay of a run: it is restarted if it ends while training continues."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from esper_otel.log import manifest
from esper_otel.log.layout import RELAY_DIRECTORY
from esper_otel.log.opening import open_to_read
from esper_otel.log.writing.losses import Speaker
from esper_otel.runtime.launch import RELAY_LOG, RelayProcess

LOOK_EVERY_S: Final = 1.0

BACK_OFF_S: Final = (0.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Pauses before the first and each further start; the last one is repeated."""

MOST_STARTS: Final = 20
"""Maximum number of starts in one run; after that the relay is not restarted."""

STEADY_S: Final = 120.0
"""Lifetime of a relay that resets the pauses."""

KEPT_LINGERING: Final = 2
"""Relays of earlier runs of this process that may linger; older ones end when they have delivered everything."""

_TAIL_BYTES: Final = 4096

_earlier: list[RelayProcess] = []
"""Relays of the runs before, newest last. The process's, as runs follow one another in it."""


def hurry_earlier(relay: RelayProcess | None) -> None:
    """End earlier runs' relays that are no longer needed, and add ``relay`` to those that linger."""
    for old in _earlier[:-KEPT_LINGERING] if len(_earlier) > KEPT_LINGERING else []:
        old.end_lingering()
    _earlier[:] = [old for old in _earlier if old.is_alive()]
    if relay is not None:
        _earlier.append(relay)


def forget_earlier() -> None:
    """In a forked child: forget its parent's relays."""
    _earlier.clear()


def relay_entry(run_dir: Path, pid: int) -> dict[str, Any]:
    """Notes that the relay ``pid`` of this machine left in ``run.json``; empty when there are none."""
    return next((entry for entry in _entries(run_dir) if entry.get("pid") == pid), {})


def _entries(run_dir: Path) -> list[dict[str, Any]]:
    """Notes of the relays of this machine; where every node has a relay there are several entries."""
    try:
        content = manifest.read(run_dir)
    except (OSError, ValueError):
        return []
    entries = [entry for name, entry in content.items() if name.startswith(RELAY_DIRECTORY)]
    return [entry for entry in entries if isinstance(entry, dict) and entry.get("host") == socket.gethostname()]


def following_relay(run_dir: Path) -> RelayProcess | None:
    """The living relay of this machine that ``run.json`` names; None where there is none.

    A run may be continued while the relay of its last session is still there: that one goes on with it.
    """
    for entry in _entries(run_dir):
        pid, started = entry.get("pid"), entry.get("pid_start")
        if "delivered" in entry:  # it is about to end
            continue
        if isinstance(pid, int) and isinstance(started, int) and (relay := RelayProcess(pid, started)).is_alive():
            return relay
    return None


class RelayWatch:
    """A thread that checks the relay every second, restarts it, and reports what happened.

    A relay that somebody stopped by a signal stays away.
    """

    def __init__(
        self,
        start: Callable[[], RelayProcess] | None,
        run_dir: Path,
        speaker: Speaker,
        every_look: Callable[[], None] = lambda: None,
        directory: str = RELAY_DIRECTORY,
    ) -> None:
        """Start the relay and the thread.

        Args:
            start: starts a relay; None where this process has none to look after.
            run_dir: directory of the run.
            speaker: reports to people.
            every_look: called every second, whatever becomes of the relay.
            directory: name of the relay's directory in the run's.
        """
        self._start = start
        self._run_dir = run_dir
        self._speaker = speaker
        self._every_look = every_look
        self._directory = directory
        self._starts = self._failures = 0
        self._started_at = self._due_at = time.monotonic()
        self._stop = threading.Event()
        self.relay: RelayProcess | None = None
        if start is not None:
            self._try_start()
        self._thread = threading.Thread(target=self._run, name="esper-otel-watch", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            speaker.say_once("watch", f"the relay is not supervised: {error}. If it ends, it is not restarted.")

    def close(self) -> None:
        """Stop supervising: from now on the relay ends by itself. Reports one that has already ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_EVERY_S)
        self.relay = self.following()
        if self.relay is not None and not self.relay.is_alive():
            self._report_end(self.relay, "'esper-otel relay RUN' delivers the rest")
            self.relay = None

    def following(self) -> RelayProcess | None:
        """The relay that follows the run: one of an earlier session, or the one that was started here."""
        return (following_relay(self._run_dir) if self._start is not None else None) or self.relay

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self._every_look()
                if self._start is not None:
                    self._look()
            except Exception as error:  # the next look is another chance
                self._speaker.say_once("watch", f"supervising the relay failed: {type(error).__name__}: {error}")

    def _look(self) -> None:
        now = time.monotonic()
        if self.relay is not None:
            if self.relay.is_alive():
                return
            if (other := following_relay(self._run_dir)) is not None:
                self.relay = other
                return
            self._note_end(self.relay, now)
        if self._starts < MOST_STARTS and now >= self._due_at and not self._stop.is_set():
            self._try_start()

    def _note_end(self, relay: RelayProcess, now: float) -> None:
        self.relay = None
        if relay_entry(self._run_dir, relay.pid).get("stopped"):
            self._starts = MOST_STARTS
        if now - self._started_at > STEADY_S:
            self._failures = 0
        self._back_off(now)
        self._report_end(relay, f"It is {'started' if self._starts < MOST_STARTS else 'not started'} again")

    def _report_end(self, relay: RelayProcess, plan: str) -> None:
        last = f", its last message: {text!r}" if (text := self._last_message()) else ""
        self._speaker.say_once(
            f"relay {relay.pid}",
            f"the relay (process {relay.pid}) ended before the run did{last}. {plan}; the log is complete."
            f" See {self._run_dir / self._directory / RELAY_LOG}",
        )

    def _back_off(self, now: float) -> None:
        self._due_at = now + BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]
        self._failures += 1

    def _try_start(self) -> None:
        assert self._start is not None
        self._started_at = time.monotonic()
        self._starts += 1
        try:
            self.relay = self._start()
        except Exception as error:
            self._failures = max(self._failures, 1)  # it failed a moment ago: a pause comes first
            self._back_off(self._started_at)
            self._speaker.say_once(
                "relay", f"the relay could not be started: {error}. Events are still written to the log."
            )

    def _last_message(self) -> str:
        """The last line of the relay's log, usually the most useful one."""
        try:
            with open_to_read(self._run_dir / self._directory / RELAY_LOG) as file:
                file.seek(max(file.seek(0, 2) - _TAIL_BYTES, 0))
                lines = file.readall().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip(" ╰─╯│")), "")
