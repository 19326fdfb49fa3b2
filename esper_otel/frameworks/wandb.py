"""Numbers that a program logs by ``wandb.log()`` or ``Run.log()``, online or offline; a disabled run logs nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from esper_otel.frameworks.scalars import SCALARS
from esper_otel.frameworks.wrapping import look_after

MODULE: Final = "wandb.sdk.wandb_run"
MOST_LEVELS: Final = 4
"""Levels of nested dictionaries that are read; wandb joins their names by a dot, TensorBoard's tags have a slash."""


def install() -> None:
    """Take what is logged."""
    look_after(sys.modules[MODULE].Run, "log", _logged)


def _logged(_run: Any, data: Any, step: Any = None, commit: Any = None, *_: Any, **__: Any) -> None:
    # A row without a step of its own is complete with its call, unless more of it is announced. The run's own step is
    # not asked for: that waits for another process.
    is_whole = step is None if commit is None else bool(commit)
    SCALARS.take(dict(_flat(data)), step, is_whole=is_whole)


def _flat(data: Mapping[Any, Any], prefix: str = "", levels: int = MOST_LEVELS) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            if levels > 1:
                yield from _flat(value, f"{prefix}{name}.", levels - 1)
        else:
            yield f"{prefix}{name}", value
