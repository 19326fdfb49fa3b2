"""Everything that writes scalars for TensorBoard, by torch's ``SummaryWriter`` or tensorboardX's.

A number is taken after the program's own writer has it: what it waited for is there.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from esper_otel.frameworks.scalars import SCALARS
from esper_otel.frameworks.wrapping import look_after


def install_torch() -> None:
    """Take what is written by torch."""
    look_after(sys.modules["torch.utils.tensorboard.writer"].SummaryWriter, "add_scalar", _written)


def install_tensorboardx() -> None:
    """Take what is written by tensorboardX."""
    look_after(sys.modules["tensorboardX.writer"].SummaryWriter, "add_scalar", _written)


def _written(writer: Any, tag: Any, scalar_value: Any, global_step: Any = None, *_: Any, **__: Any) -> None:
    step = None
    with suppress(Exception):  # whatever a foreign object raises: a number without its step is still one
        step = int(global_step)
    SCALARS.take({str(tag): scalar_value}, step)
