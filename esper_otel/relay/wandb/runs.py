"""The runs at Weights & Biases: one for each A/B group, opened when there is something to write.

The only module that imports ``wandb``, and only when one was asked for.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from esper_otel.relay.wandb.rows import AXES, Stepped
from esper_otel.text.redaction import redacted_url

INIT_TIMEOUT_S: Final = 15.0
"""Timeout of the first contact, unless WANDB_INIT_TIMEOUT sets another; it is retried later."""

FLUSH_S: Final = 1.0
"""Interval at which wandb's process flushes rows to disk; a kill loses the rest."""

LONGEST_ID: Final = 128

Mode = Literal["offline", "online"]


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Destination of the rows. Project, entity, address and key come from wandb's own ``WANDB_*`` variables.

    Attributes:
        mode: whether to send, or to write files for ``wandb sync``.
        run_id: name of the run; its groups' W&B runs are gathered under it.
        directory: where wandb keeps its files unless WANDB_DIR says so; None means the working directory.
        finish_timeout_s: how long the end of a run may wait for the upload; the rest stays on disk.
    """

    mode: Mode
    run_id: str
    directory: Path | None
    finish_timeout_s: float


class WandbRuns:
    """The open runs. Every method but the constructor may raise whatever wandb raises."""

    def __init__(self, destination: Destination) -> None:
        """Import wandb.

        Raises:
            ImportError: it is not installed.
        """
        self._wandb: Any = importlib.import_module("wandb")
        self._destination = destination
        self._runs: dict[str, Any] = {}
        self._configs: dict[str, dict[str, Any]] = {}

    @property
    def where(self) -> str:
        """The destination for people, without secrets."""
        if self._destination.mode == "online":
            return f"to {redacted_url(os.environ.get('WANDB_BASE_URL') or 'the server of the wandb settings')}"
        return f"in files for 'wandb sync' under {self._directory or Path.cwd()}"

    @property
    def _directory(self) -> str | Path | None:
        return os.environ.get("WANDB_DIR") or self._destination.directory

    def log(self, group_id: str, rows: Sequence[Stepped], config: dict[str, Any]) -> int:
        """Write rows of a group, opening its run first; the number of rows that it did not have yet."""
        run = self._runs.get(group_id)
        if run is None:
            run = self._runs[group_id] = self._open(group_id)
        if config != self._configs.get(group_id):
            run.config.update(config, allow_val_change=True)
            self._configs[group_id] = dict(config)
        fresh = [(step, row) for step, row in rows if step >= run.starting_step]
        for step, row in fresh:
            run.log(row, step=step, commit=True)  # else the last row waits for the next one
        return len(fresh)

    def finish(self, exit_code: int) -> None:
        """Close all runs; waits for the upload up to the destination's limit."""
        while self._runs:
            _, run = self._runs.popitem()
            run.finish(exit_code=exit_code)

    def abandon(self) -> None:
        """Forget the runs after a failure; opening them again resumes them."""
        self._runs.clear()
        self._configs.clear()

    def _open(self, group_id: str) -> Any:
        destination = self._destination
        run = self._wandb.init(
            id=wandb_id(destination.run_id, group_id),
            name=f"{destination.run_id} {group_id}",
            group=destination.run_id,
            job_type=group_id,
            dir=self._directory,
            resume="allow" if destination.mode == "online" else None,  # without a server there is nothing to resume
            settings=self._settings(),
        )
        for group, axis in AXES.items():
            run.define_metric(axis, hidden=True)
            run.define_metric(f"{group}/*", step_metric=axis)
        return run

    def _settings(self) -> Any:
        """Settings under which wandb records nothing of the relay: neither environment nor code nor host."""
        return self._wandb.Settings(
            mode=self._destination.mode,
            reinit="create_new",
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or INIT_TIMEOUT_S),
            finish_timeout=self._destination.finish_timeout_s,
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=FLUSH_S,
        )


def wandb_id(run_id: str, group_id: str) -> str:
    """Id of a group's W&B run, the same at every start of a relay; W&B allows few characters."""
    name = run_id if group_id == "default" else f"{run_id}-{group_id}"
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:LONGEST_ID]
