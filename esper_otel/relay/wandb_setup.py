"""Whether rows go to Weights & Biases, and how: ESPER_OTEL_WANDB."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.console import say
from esper_otel.relay.wandb_pipeline import WandbPipeline
from esper_otel.relay.wandb_runs import Destination, Mode, WandbRuns

VARIABLE: Final = "ESPER_OTEL_WANDB"
OFF: Final = "off"
MODES: Final[dict[str, Mode]] = {"offline": "offline", "online": "online"}


def mode_from_env(environment: Mapping[str, str] = os.environ) -> Mode | None:
    """What ESPER_OTEL_WANDB asks for; None when it is off, as it is unless set.

    Raises:
        ValueError: it is none of off, offline and online.
    """
    text = (environment.get(VARIABLE) or OFF).strip().lower()
    if text != OFF and text not in MODES:
        raise ValueError(f"{VARIABLE}={text!r}: expected {OFF}, {' or '.join(MODES)}")
    return MODES.get(text)


def wandb_from_env(
    path: Path, *, run_id: str, follow: bool, directory: StateDirectory | None, drain_s: float
) -> WandbPipeline | None:
    """The pipeline that ESPER_OTEL_WANDB asks for; where the package is missing, say what to install and do without.

    Raises:
        ValueError: the variable is not understood.
        FileNotFoundError: there is nothing to read and ``follow`` is off.
    """
    mode = mode_from_env()
    if mode is None:
        return None
    destination = Destination(
        mode=mode, run_id=run_id, directory=directory.path if directory else None, finish_timeout_s=max(drain_s, 1.0)
    )
    try:
        runs = WandbRuns(destination)
    except ImportError as error:
        say(f"{VARIABLE}={mode} needs the package wandb ({error}): pip install 'esper-otel[wandb]'")
        return None
    return WandbPipeline(path, runs, follow=follow, directory=directory)
