"""Lightning: what a module gives to ``log()``, where the trainer has a logger."""

from __future__ import annotations

import sys
from typing import Any

from esper_otel.frameworks import LIGHTNING
from esper_otel.frameworks.scalars import SCALARS
from esper_otel.frameworks.wrapping import look_after


def install(package: str = "lightning.pytorch") -> None:
    """Take what is logged."""
    look_after(sys.modules[f"{package}.{LIGHTNING}"]._LoggerConnector, "log_metrics", _logged, mutes=True)


def install_pytorch_lightning() -> None:
    """Take what is logged under the package's other name."""
    install("pytorch_lightning")


def _logged(connector: Any, metrics: Any, step: Any = None) -> None:
    if connector.trainer.loggers and metrics:
        if step is None:  # as Lightning counts then
            step = metrics.get("step", connector.trainer.fit_loop.epoch_loop._batches_that_stepped)
        SCALARS.take({name: value for name, value in metrics.items() if name != "step"}, int(step), is_whole=True)
