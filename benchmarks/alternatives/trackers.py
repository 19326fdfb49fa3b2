"""Experiment trackers: TensorBoard, Weights & Biases offline, MLflow; each logs every number of every event."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path
from typing import Any

from benchmarks.alternatives.payloads import Numbers, Payload
from benchmarks.alternatives.way import Record, UnavailableError


class _Tracker:
    """Common parts of trackers: no queue that could be awaited, and no known losses."""

    def __init__(self) -> None:
        """Their names for the steps."""
        self._steps = itertools.count()

    def settle(self) -> None:
        """Nothing waits."""

    def lost(self) -> int:
        """None that it reports."""
        return 0


class TensorBoard(_Tracker):
    """``SummaryWriter.add_scalar`` for each number."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Begin a file of events."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UnavailableError(f"pip install tensorboard ({error})") from None
        self._writer: Any = SummaryWriter(str(directory))

    def recorder(self, payload: Payload) -> Record:
        """Add every scalar."""
        names, steps, add = payload.names, self._steps, self._writer.add_scalar

        def record(numbers: Numbers) -> None:
            step = next(steps)
            for name, number in zip(names, numbers, strict=True):
                add(name, number, step)

        return record

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WandbOffline(_Tracker):
    """``run.log`` of all numbers in offline mode, without system metrics."""

    def open(self, directory: Path, endpoint: str) -> None:
        """Begin a run."""
        try:
            import wandb
        except ImportError as error:
            raise UnavailableError(f"pip install wandb ({error})") from None
        settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
        self._run: Any = wandb.init(project="benchmark", mode="offline", dir=str(directory), settings=settings)

    def recorder(self, payload: Payload) -> Record:
        """Log a mapping."""
        names, log = payload.names, self._run.log
        return lambda numbers: log(dict(zip(names, numbers, strict=True)))

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class MLflow(_Tracker):
    """``log_metrics`` of all numbers into ``store``, ``sqlite`` or ``file``."""

    def __init__(self, store: str) -> None:
        """Nothing is opened."""
        super().__init__()
        self._store = store

    def open(self, directory: Path, endpoint: str) -> None:
        """Begin a run."""
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        try:
            import mlflow
        except ImportError as error:
            raise UnavailableError(f"pip install mlflow-skinny sqlalchemy alembic ({error})") from None
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        self._mlflow: Any = mlflow
        address = f"sqlite:///{directory}/mlflow.db" if self._store == "sqlite" else f"file:{directory}/mlruns"
        try:
            mlflow.set_tracking_uri(address)
            mlflow.start_run()
        except Exception as error:  # whatever a store says that this version does not have
            raise UnavailableError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from None

    def recorder(self, payload: Payload) -> Record:
        """Log a mapping."""
        names, steps, log = payload.names, self._steps, self._mlflow.log_metrics
        return lambda numbers: log(dict(zip(names, numbers, strict=True)), step=next(steps))

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()
