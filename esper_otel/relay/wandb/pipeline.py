"""The pipeline from the log to Weights & Biases, in a thread and with a position of its own.

W&B may be slow, down or broken: the log is the queue, failures are counted and reported once, and nothing else in the
relay waits for it. A row has the same number (W&B's step) however often it is made: after a kill the last few
are made again, and those that a resumed run already has are passed over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.events import RunEnded, TrainingStarted
from esper_otel.events.declare import Event
from esper_otel.log.envelope import Record
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say
from esper_otel.relay.following import Following
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.metrics.attribute_limits import AttributeLimits
from esper_otel.relay.pipeline import Account
from esper_otel.relay.position import LogPosition
from esper_otel.relay.wandb.columns import GROUPS
from esper_otel.relay.wandb.lines import is_shown
from esper_otel.relay.wandb.rows import GroupRows, Stepped
from esper_otel.relay.wandb.runs import WandbRuns

CHECKPOINT: Final = "wandb"
BATCH: Final = 2_000
IDLE_S: Final = 0.5
RETRY_S: Final = 60.0
SETTLED_S: Final = 5.0
"""Age at which a position is stored: wandb flushes within 1 s, so 5 s is a safe margin."""


class WandbPipeline(Following):
    """Follows the log and writes rows.

    Attributes:
        signal: name in the relay's own metrics.
        exported: rows written.
        failed: attempts that failed.
        refused: rows that will never be taken; always 0.
        last_error: the last failure as text.
    """

    destination = "W&B"
    is_required = False
    signal: Final = "wandb"
    refused: Final = 0

    def __init__(self, path: Path, runs: WandbRuns, *, follow: bool, directory: StateDirectory | None) -> None:
        """Go on from the stored position in ``directory``, else begin at the start.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self.exported = 0
        self._runs = runs
        self._directory = directory
        self._limits = AttributeLimits()
        self._groups: dict[str, GroupRows] = {}
        self._config: dict[str, dict[str, Any]] = {}
        self._exit_code = 0
        self._unsettled: tuple[float, dict[str, Any]] | None = None
        stored = directory.load(CHECKPOINT) if directory else None
        if stored is not None:
            try:
                self._restore(stored)
                self._lines = LogPosition(path, follow=follow, stored=stored, wanted=is_shown)
            except Exception as error:  # whatever is wrong with it, the log can give it again
                say(f"the stored position for W&B is unusable ({error}); reading the log anew")
                stored, self._groups, self._config = None, {}, {}
        if stored is None:
            self._lines = LogPosition(path, follow=follow, wanted=is_shown)
        super().__init__(self._lines)

    @property
    def accounts(self) -> Sequence[Account]:
        """The counters of rows."""
        return [self]

    def describe(self) -> str:
        """The destination of the rows, as wandb's own variables give it."""
        return f"W&B: rows {self._runs.where}"

    def read(self) -> list[Ingested] | None:
        """Return the next lines that W&B shows."""
        return self._lines.read(BATCH)

    def take(self, lines: Sequence[Ingested] | None, *, is_finishing: bool) -> bool:
        """Write the rows of ``lines`` and remember the position; it is stored when its rows have settled."""
        if lines is not None and not self._write(self._rows_of(lines)):
            return False
        self._store_settled()
        if lines is not None and self._unsettled is None:  # what comes until then waits for the next time
            self._unsettled = (time.monotonic(), self._content())
        return True

    def idle(self) -> None:
        """Wait for new lines."""
        self._is_finishing.wait(IDLE_S)

    def end(self) -> bool:
        """Write the last rows, close the W&B runs and store the position."""
        if self._is_over and not self._write({name: group.finish() for name, group in self._groups.items()}):
            return False
        self._runs.finish(self._exit_code)
        self._save(self._content())
        return True

    def _rows_of(self, lines: Sequence[Ingested]) -> dict[str, list[Stepped]]:
        rows: dict[str, list[Stepped]] = {}
        for line in lines:
            if line.record is not None:
                for event in line.events:
                    self._take(event, line.record, rows)
        return rows

    def _take(self, event: Event, record: Record, rows: dict[str, list[Stepped]]) -> None:
        group_id = record.group_id
        if isinstance(event, TrainingStarted):
            self._config[group_id] = _config(event)
        elif isinstance(event, RunEnded):
            self._exit_code = int(event.outcome != "finished")
        elif type(event) in GROUPS:
            group = self._groups.setdefault(group_id, GroupRows(self._limits))
            rows.setdefault(group_id, []).extend(group.feed(event, record.timestamp_ns / 1e9))

    def _write(self, rows: dict[str, list[Stepped]]) -> bool:
        """Write the rows, retrying until it works; False if stopped before."""
        waiting = {group_id: made for group_id, made in rows.items() if made}

        def log() -> None:
            try:
                while waiting:
                    group_id = next(iter(waiting))
                    self.exported += self._runs.log(group_id, waiting[group_id], self._config.get(group_id, {}))
                    del waiting[group_id]
            except Exception:
                self._runs.abandon()
                raise

        return self.retry(log, RETRY_S)

    def _store_settled(self) -> None:
        if self._unsettled is not None and time.monotonic() - self._unsettled[0] > SETTLED_S:
            self._save(self._unsettled[1])
            self._unsettled = None

    def _content(self) -> dict[str, Any]:
        return {
            **self._lines.state,
            "groups": {group_id: group.state for group_id, group in self._groups.items()},
            "config": dict(self._config),
        }

    def _save(self, content: dict[str, Any]) -> None:
        if self._directory is not None:
            self._directory.save(CHECKPOINT, content)

    def _restore(self, stored: dict[str, Any]) -> None:
        self._groups = {group_id: GroupRows(self._limits, state) for group_id, state in stored["groups"].items()}
        self._config = dict(stored["config"])


def _config(event: TrainingStarted) -> dict[str, Any]:
    """The configuration of a run as W&B shows it: what the event knows, by the names of its fields."""
    config: dict[str, Any] = msgspec.to_builtins(event)
    return config
