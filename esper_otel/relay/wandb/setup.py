"""Configuration of the export to Weights & Biases: ESPER_OTEL_WANDB."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from esper_otel.relay.console import say
from esper_otel.relay.pipeline import Context
from esper_otel.relay.wandb.pipeline import WandbPipeline
from esper_otel.relay.wandb.runs import Destination, Mode, WandbRuns
from esper_otel.text.extras import install

VARIABLE: Final = "ESPER_OTEL_WANDB"
OFF: Final = "off"
MODES: Final[dict[str, Mode]] = {"offline": "offline", "online": "online"}


def mode_from_env(environment: Mapping[str, str] = os.environ) -> Mode | None:
    """Mode set by ESPER_OTEL_WANDB; None if it is off, the default.

    Raises:
        ValueError: it is none of off, offline and online.
    """
    text = (environment.get(VARIABLE) or OFF).strip().lower()
    if text != OFF and text not in MODES:
        raise ValueError(f"{VARIABLE}={text!r}: expected {OFF}, {' or '.join(MODES)}")
    return MODES.get(text)


def make(context: Context) -> WandbPipeline | None:
    """Build the pipeline that ESPER_OTEL_WANDB configures; without the package, report that and continue without it.

    Raises:
        ValueError: the variable is not understood.
        FileNotFoundError: there is nothing to read and the log does not grow.
    """
    mode = mode_from_env()
    if mode is None:
        return None
    destination = Destination(
        mode=mode,
        run_id=context.run_id,
        directory=context.directory.path if context.directory else None,
        finish_timeout_s=max(context.drain_s, 1.0),
    )
    try:
        runs = WandbRuns(destination)
    except ImportError as error:
        say(f"{VARIABLE}={mode} needs the package wandb ({error}): {install('wandb')}")
        return None
    return WandbPipeline(context.path, runs, follow=context.follow, directory=context.directory)
