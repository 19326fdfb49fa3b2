"""The pipeline from the log to the metric state, with its checkpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from esper_otel.log.reader import LogReader
from esper_otel.relay.accounting import account
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say
from esper_otel.relay.exemplars import Exemplars
from esper_otel.relay.families import Family
from esper_otel.relay.handover import Handover
from esper_otel.relay.ingest import Ingest, Ingested
from esper_otel.relay.liveness import Liveness
from esper_otel.relay.metrics import MetricState
from esper_otel.signals import own

CHECKPOINT: Final = "metrics"
CHECKPOINT_S: Final = 2.0
"""How often the state is stored while events arrive; a restart replays at most so much."""

BATCH: Final = 500
"""Lines between two releases of the lock that a scrape waits for."""


class MetricsPipeline:
    """Follows the log and keeps the metric state.

    Attributes:
        state: the metrics.
        reader: the log.
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
    ) -> None:
        """Go on from the stored state in ``directory``, else begin at the start.

        ``run_id`` is the run of records that do not name one. ``liveness`` sees every line after it acted; its state is
        stored with the rest. So does ``watch``, which keeps its own.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self.state = MetricState()
        self._directory = directory
        self._follow = follow
        self._liveness = liveness
        self._exemplars = Exemplars(run_id)
        self._watch = watch
        self._lock = threading.Lock()
        stored = directory.load(CHECKPOINT) if directory else None
        if stored is not None:
            try:
                self.state.restore(stored["state"])
                liveness.restore(stored["liveness"])
                self._exemplars.restore(stored["rounds"])
            except Exception as error:  # whatever is wrong with it, the log can give it again
                say(f"the stored metrics are unusable ({error}); reading the log anew")
                stored, self.state, self._exemplars = None, MetricState(), Exemplars(run_id)
        positions = stored["positions"] if stored else None
        self.reader = LogReader(path, follow=follow, positions=positions, decode_events=True)
        self._ingest = Ingest(stored["ingest"] if stored else None)
        self._began_at = stored["positions"] if stored else {}
        self._handover: Handover | None = None
        self._stored_at = time.monotonic()
        self._is_dirty = False

    def hand_over(self) -> Handover:
        """Where the lines that are read will be found, for a delivery that keeps up; to be called before any step."""
        self._handover = Handover(self._began_at, waits=not self._follow)
        return self._handover

    def step(self) -> int:
        """Project what is there, up to a batch; the number of lines."""
        lines = [self._ingest.take(item) for item in self.reader.read(BATCH)]
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

    def collect(self, now_ns: int) -> list[Family]:
        """The families at this moment; safe to call from any thread."""
        with self._lock:
            return self._exemplars.attach(self.state.collect(now_ns))

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
        content = {
            "positions": self.reader.positions,
            "ingest": self._ingest.state,
            "state": self.state.snapshot(),
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
