"""Ranks that stopped while their process lives: each is reported once, with its Python stack where that can be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.events import RankStopped
from esper_otel.relay.console import say
from esper_otel.stacks import record
from esper_otel.stacks.dump import StackError, Thread, program, stacks_of
from esper_otel.stacks.owners import Owner, owner_of
from esper_otel.stacks.phase import phase_of

VARIABLE: Final = "ESPER_OTEL_STACKS"
_OFF: Final = frozenset({"0", "false", "no", "off"})

SHOWN_FRAMES: Final = 30
"""Frames of the main thread in the event; the file in the run's directory has all threads."""


class StoppedRanks:
    """Watches for ranks that stop. Stacks are read on a thread of its own: the relay goes on meanwhile."""

    def __init__(
        self,
        directory: Path | None,
        stopped: Callable[[], Mapping[int, float]],
        note: Callable[[RankStopped], object],
        environ: Mapping[str, str],
    ) -> None:
        """Watch the run in ``directory``; nothing where it is None.

        ``stopped`` tells the ranks that stand still now and for how long, s. ``note`` gets the events, on a thread
        of its own.
        """
        self._directory = directory
        self._stopped = stopped
        self._note = note
        self._reads_stacks = environ.get(VARIABLE, "").strip().lower() not in _OFF and program() is not None
        self._reported: set[int] = set()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Report each rank that stopped since the last look."""
        if self._directory is None or (self._thread is not None and self._thread.is_alive()):
            return
        stopped = self._stopped()
        new = {rank: quiet_s for rank, quiet_s in stopped.items() if rank not in self._reported}
        self._reported = set(stopped)
        if new:
            arguments = (self._directory, new)
            self._thread = threading.Thread(target=self._report, args=arguments, name="stopped-ranks", daemon=True)
            self._thread.start()

    def _report(self, directory: Path, stopped: Mapping[int, float]) -> None:
        for rank, quiet_s in sorted(stopped.items()):
            try:
                event = self._event(directory, rank, quiet_s)
                if event is not None:
                    self._note(event)
                    say(f"rank {rank} has stopped{f' in {event.phase}' if event.phase else ''}: {event.detail}")
            except Exception as error:  # a report is lost, not the relay
                say(f"rank {rank} has stopped; its stack is not recorded: {type(error).__name__}: {error}")

    def _event(self, directory: Path, rank: int, quiet_s: float) -> RankStopped | None:
        """The event about a rank that stopped; None if its process has ended meanwhile."""
        owner = owner_of(directory, rank)
        if owner is None:
            return None
        event = RankStopped(
            stopped_rank=rank,
            quiet_s=quiet_s,
            pid=owner.pid,
            host=owner.host,
            detail=f"no progress for {quiet_s:.0f} s",
        )
        if not self._reads_stacks:
            return event
        try:
            threads = stacks_of(owner)
        except (StackError, OSError) as error:
            return msgspec.structs.replace(event, detail=f"{event.detail}; no stack: {error}")
        _save(directory, owner, threads)
        frames = threads[0].frames if threads else []
        stack = "\n".join(frame.text for frame in frames[:SHOWN_FRAMES]) or None
        return msgspec.structs.replace(event, phase=phase_of(threads), stack=stack)


def _save(directory: Path, owner: Owner, threads: list[Thread]) -> None:
    assert owner.pid is not None
    recorded = record.Recorded(owner.rank, owner.pid, owner.host, time.time_ns(), phase_of(threads), threads)
    try:
        record.save(directory, recorded)
    except OSError as error:
        say(f"the stack of rank {owner.rank} is not kept in {directory}: {error}")
