"""The phase of a training step that a stack is in, and whether it waits for other ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from esper_otel.stacks.dump import Frame, Thread

COLLECTIVE: Final = "collective"

_SIGNS: Final = (
    (COLLECTIVE, "/torch/distributed/"),
    ("checkpoint", "/torch/serialization.py"),
    ("data_wait", "/torch/utils/data/"),
    ("optimizer_step", "/torch/optim/"),
    ("backward", "/torch/autograd/"),
    ("forward", "/torch/nn/modules/"),
)
"""Phase by a part of the file of a frame; of several frames the innermost decides."""

_OWN: Final = ("/esper_otel/", "/site-packages/", "/lib/python", "<frozen", "<string>")


def phase_of(threads: Sequence[Thread]) -> str | None:
    """The phase that the main thread is in; None where its frames do not say."""
    for frame in threads[0].frames if threads else ():
        for phase, part in _SIGNS:
            if part in frame.filename:
                return phase
    return None


def place_of(threads: Sequence[Thread]) -> Frame | None:
    """The innermost frame of the main thread that is the program's own; the innermost of all where none is."""
    frames = threads[0].frames if threads else []
    own = (frame for frame in frames if not any(part in frame.filename for part in _OWN))
    return next(own, frames[0] if frames else None)
