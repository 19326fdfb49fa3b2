"""The Trainer of transformers, and what is built on it (TRL): what it logs, to whomever."""

from __future__ import annotations

import sys
from typing import Any

from esper_otel.frameworks.scalars import SCALARS
from esper_otel.frameworks.wrapping import look_after


def install() -> None:
    """Take what is logged."""
    look_after(sys.modules["transformers.trainer"].Trainer, "log", _logged, mutes=True)


def _logged(trainer: Any, logs: Any, *_: Any, **__: Any) -> None:
    SCALARS.take(logs, int(trainer.state.global_step), is_whole=True)
