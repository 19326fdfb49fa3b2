"""Things to do before the log of a run is closed: sensors hand over what they have measured and not sent yet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

_callbacks: dict[int, Callable[[], None]] = {}


def before_end(callback: Callable[[], None]) -> Callable[[], None]:
    """Have ``callback`` called before each run of this process ends, however it ends.

    Returns:
        A function that takes this back.
    """
    key = max(_callbacks, default=0) + 1
    _callbacks[key] = callback

    def take_back() -> None:
        _callbacks.pop(key, None)

    return take_back


def hand_over() -> None:
    """Call them; an exception in one must not keep the log open."""
    for callback in list(_callbacks.values()):
        with suppress(Exception):  # sensors report their faults themselves, into the log that is about to be closed
            callback()


def forget() -> None:
    """In a forked child: they belong to the parent."""
    _callbacks.clear()
