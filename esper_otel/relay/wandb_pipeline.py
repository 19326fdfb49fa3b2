"""The pipeline from the log to Weights & Biases, in a thread and with a position of its own.

W&B may be slow, away or broken: the log is the queue, a failure is counted and said once, and nothing else of the
relay waits for it. A row has the same number (W&B's step) however often it is made: after a kill the last few
are made again, and those that a resumed run already has are passed over.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.events import RunEnded, TrainingStarted
from esper_otel.events.declare import Event
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.limits import AttributeLimits
from esper_otel.relay.wandb_columns import GROUPS
from esper_otel.relay.wandb_lines import WandbLines
from esper_otel.relay.wandb_rows import GroupRows, Stepped
from esper_otel.relay.wandb_runs import WandbRuns

CHECKPOINT: Final = "wandb"
BATCH: Final = 2_000
IDLE_S: Final = 0.5
RETRY_S: Final = 60.0
SETTLED_S: Final = 5.0
"""Age at which a position is stored: by then wandb's own process has its rows on disk, five times over."""


class WandbPipeline:
    """Follows the log and writes rows.

    Attributes:
        signal: what the relay's own metrics call it.
        exported: rows written.
        failed: attempts that failed.
        refused: rows that will never be taken; always 0.
    """

    signal: Final = "wandb"
    refused: Final = 0

    def __init__(self, path: Path, runs: WandbRuns, *, follow: bool, directory: StateDirectory | None) -> None:
        """Go on from the stored position in ``directory``, else begin at the start.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self.exported = 0
        self.failed = 0
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
            except (msgspec.ValidationError, KeyError, TypeError) as error:
                say(f"the stored position for W&B is unusable ({error}); reading the log anew")
                stored, self._groups, self._config = None, {}, {}
        self._lines = WandbLines(path, follow=follow, stored=stored)
        self._stop = threading.Event()
        self._is_finishing = threading.Event()
        self._is_over = False
        self._is_drained = False
        self._thread = threading.Thread(target=self._run, name="esper-wandb", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def finish(self, timeout_s: float, *, is_over: bool) -> bool:
        """Write what the log still holds and close the W&B runs; whether that was done within ``timeout_s``.

        ``is_over``: the run has ended, so that the last epoch is written though it may be incomplete.
        """
        self._is_over = is_over
        self._is_finishing.set()
        self._thread.join(timeout_s)
        self._stop.set()
        if not self._is_drained:
            say(f"W&B did not take everything within {timeout_s:g} s; what is missing stands in the log")
        return self._is_drained

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # the relay goes on without W&B; silence would look like success
            self.failed += 1
            say(f"writing to W&B broke down ({type(error).__name__}: {error}); its position is kept for a new relay")
        finally:
            self._lines.close()

    def _follow(self) -> None:
        while not self._stop.is_set():
            is_finishing = self._is_finishing.is_set()  # looked at once: what is read after it decides
            if is_finishing:
                self._lines.finish()
            lines = self._lines.read(BATCH)
            if lines is None:
                if is_finishing:
                    self._end()
                    return
                self._store_settled()
                self._is_finishing.wait(IDLE_S)
                continue
            if not self._write(self._rows_of(lines)):
                return
            self._note_position()

    def _rows_of(self, lines: list[Ingested]) -> dict[str, list[Stepped]]:
        rows: dict[str, list[Stepped]] = {}
        for line in lines:
            if line.record is not None:
                for event in line.events:
                    self._take(event, line.record.group_id, rows)
        return rows

    def _take(self, event: Event, group_id: str, rows: dict[str, list[Stepped]]) -> None:
        if isinstance(event, TrainingStarted):
            self._config[group_id] = _config(event)
        elif isinstance(event, RunEnded):
            self._exit_code = int(event.outcome != "finished")
        elif type(event) in GROUPS:
            group = self._groups.setdefault(group_id, GroupRows(self._limits))
            rows.setdefault(group_id, []).extend(group.feed(event))

    def _write(self, rows: dict[str, list[Stepped]]) -> bool:
        """Write the rows, trying again until it works; False when told to stop before."""
        waiting = {group_id: made for group_id, made in rows.items() if made}
        said = ""
        while waiting:
            group_id = next(iter(waiting))
            try:
                self.exported += self._runs.log(group_id, waiting[group_id], self._config.get(group_id, {}))
                del waiting[group_id]
            except Exception as error:  # wandb and what it builds on raise many types
                self.failed += 1
                self._runs.abandon()
                if str(error) != said:
                    said = str(error)
                    say(f"W&B: {type(error).__name__}: {error}; trying again every {RETRY_S:g} s")
                if self._is_finishing.is_set():
                    return False
                self._is_finishing.wait(RETRY_S)
        return True

    def _end(self) -> None:
        if self._is_over and not self._write({name: group.finish() for name, group in self._groups.items()}):
            return
        self._runs.finish(self._exit_code)
        self._save(self._content())
        self._is_drained = True

    def _note_position(self) -> None:
        """Remember what to store when its rows have settled; what comes until then waits for the next time."""
        self._store_settled()
        if self._unsettled is None:
            self._unsettled = (time.monotonic(), self._content())

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
