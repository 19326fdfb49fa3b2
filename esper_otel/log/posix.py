"""System interfaces that Windows lacks. There the library can be imported, and its calls do nothing but report that."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import fcntl
    import resource
else:
    try:
        import fcntl
        import resource
    except ImportError:
        fcntl = resource = None

__all__ = ["NO_READING", "UNSUPPORTED", "fcntl", "in_forked_children", "is_supported", "resource"]

_NEEDED: Final = "event logs need the file locks of Linux or macOS. On Windows, use WSL 2"
UNSUPPORTED: Final = f"nothing is recorded, and training goes on: {_NEEDED}."
"""Message of a training process where :func:`is_supported` is false."""

NO_READING: Final = f"{_NEEDED}, or a copy of the log on such a machine."
"""Message of a command there."""


def is_supported() -> bool:
    """Return True where event logs can be written and read."""
    return fcntl is not None


def in_forked_children(act: Callable[[], None]) -> None:
    """Let every forked child call ``act``, where processes can be forked."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=act)
