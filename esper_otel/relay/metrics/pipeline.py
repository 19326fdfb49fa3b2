"""The pipeline from the log to the metric state, with its checkpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from esper_otel.events import EventDeclared
from esper_otel.log.reader import LogReader
from esper_otel.log.reading.follower import Position
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say, say_once
from esper_otel.relay.handover import Handover
from esper_otel.relay.ingest import Ingest, Ingested
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.exemplars import Exemplars
from esper_otel.relay.metrics.families import Family
from esper_otel.relay.metrics.fit import fingerprints, require_fit
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.metrics.summary import summarised
from esper_otel.signals import custom, own

CHECKPOINT: Final = "metrics"
CHECKPOINT_S: Final = 2.0
"""Interval between stored states while events arrive; a restart replays at most this much."""

BATCH: Final = 500
"""Lines between two releases of the lock that a scrape waits for."""


class MetricsPipeline:
    """Follows the log and updates the metric state.

    Attributes:
        state: the metrics.
        reader: the log.
        summarised_points: points that a summary replaced, in all exports and scrapes; None where all are exported.
    """

    def __init__(
        self,
        path: Path,
        *,
        run_id: str,
        follow: bool,
        directory: StateDirectory | None,
        liveness: Liveness,
        watch: Callable[[Ingested], None] | None = None,
        own_id: str | None = None,
        follows: Callable[[int], bool] | None = None,
        is_summary: bool = False,
    ) -> None:
        """Go on from the stored state in ``directory``, else begin at the start.

        ``run_id`` is the run of records that do not name one. ``liveness`` sees every line after it acted; its state is
        stored with the rest. So does ``watch``, which keeps its own. ``own_id``: the run that all lines belong to, None
        to take their word. ``follows``: whether a rank's log is read, default all. ``is_summary``: whether ranks and
        environments are exported as their summary.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self.state = MetricState()
        self._path = path
        self._directory = directory
        self._follow = follow
        self._liveness = liveness
        self._own_id = own_id
        self._follows = follows
        self._exemplars = Exemplars(run_id)
        self._watch = watch
        self.summarised_points = 0 if is_summary else None
        self._lock = threading.Lock()
        stored = directory.load(CHECKPOINT) if directory else None
        if stored is not None:
            try:
                self._restore(stored)
            except Exception as error:  # whatever is wrong with it, the log can give it again
                say(f"the stored metrics are unusable ({error}); reading the log anew")
                stored, self.state, self._exemplars = None, MetricState(), Exemplars(run_id)
        if stored is None:
            self.reader = self._open(None)
            self._ingest = Ingest(None, own_id)
        self._began_at = stored["positions"] if stored else {}
        self._handover: Handover | None = None
        self._stored_at = -CHECKPOINT_S  # the first state at once: a relay may be killed any time
        self._is_dirty = False

    def _restore(self, stored: Mapping[str, Any]) -> None:
        """Go on from a stored state; it raises whatever a state of another version makes it raise."""
        for declared, declaration in stored["state"].get("custom", ()):
            custom.learn(EventDeclared(declared=declared, declaration=declaration))
        require_fit(stored["state"], stored["metrics"])
        self.state.restore(stored["state"])
        self._exemplars.restore(stored["rounds"])
        self._ingest = Ingest(stored["ingest"], self._own_id)
        self.reader = self._open(stored["positions"])
        self._liveness.restore(stored["liveness"])

    def _open(self, positions: Mapping[str, Position] | None) -> LogReader:
        return LogReader(
            self._path, follow=self._follow, positions=positions, decode_events=True, follows=self._follows
        )

    def hand_over(self) -> Handover:
        """Place where read lines are passed on to deliveries that keep up; call it before any step."""
        if self._handover is None:
            self._handover = Handover(self._began_at, waits=not self._follow)
        return self._handover

    def step(self) -> int:
        """Project available lines, up to a batch, and return their number."""
        lines = [self._ingest.take(item) for item in self.reader.read(BATCH)]
        if (trouble := self.reader.trouble) is not None:
            say_once(trouble, f"the log cannot be read ({trouble}); it is tried again until it can be")
        with self._lock:
            for line in lines:
                self._project(line)
        if lines:
            self._is_dirty = True
            if self._handover is not None:
                self._handover.put(self.reader.positions, self._ingest.state, lines, self.reader.taken_bytes)
        if self._is_dirty and time.monotonic() - self._stored_at > CHECKPOINT_S:
            self.store()
        return len(lines)

    def finish(self) -> None:
        """Project the rest of the log, an unfinished last line included. Later lines are read by :meth:`step`."""
        self.reader.finish()
        while self.step():
            pass
        if self._follow:
            self.reader.close()
            self.reader = self._open(self.reader.positions)

    def collect(self, now_ns: int) -> list[Family]:
        """The families at this moment; safe to call from any thread."""
        with self._lock:
            families = self._exemplars.attach(self.state.collect(now_ns))
            if self.summarised_points is not None:
                families, replaced = summarised(families, self.state.limits.admitted)
                self.summarised_points += replaced
            return families

    def set_own(self, signal: own.OwnSignal, points: dict[tuple[str, ...], float]) -> None:
        """Replace the points of one of the relay's own metrics."""
        with self._lock:
            self.state.own[signal.name] = points

    def greatest_seq(self, rank: int) -> int:
        """The greatest number of an event of ``rank`` that was read; 0 for none."""
        return self._ingest.greatest_seq(rank)

    def store(self) -> None:
        """Store state and position together."""
        if self._directory is None:
            return
        self._stored_at, self._is_dirty = time.monotonic(), False
        state = self.state.snapshot()
        content = {
            "positions": self.reader.positions,
            "ingest": self._ingest.state,
            "state": state,
            "metrics": fingerprints(state),
            "liveness": self._liveness.snapshot(),
            "rounds": self._exemplars.snapshot(),
        }
        self._directory.save(CHECKPOINT, content)

    def close(self) -> None:
        """Store and close the log."""
        self.store()
        self.reader.close()

    def _project(self, line: Ingested) -> None:
        account(self.state, line)
        self._liveness.observe(line)
        self._exemplars.observe(line)
        if self._watch is not None:
            self._watch(line)
