"""Waiting for what a test asserts, with one bound that a loaded machine does not reach."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 900.0
"""How long a test waits for what must happen, s: it ends a hang, and no machine is so loaded that it ends a test."""


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S, every_s: float = 0.02) -> T:
    """The first true value of ``condition``.

    Raises:
        AssertionError: there was none within ``timeout_s``; it names ``what`` was waited for.
    """
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {timeout_s:g} s"
        time.sleep(every_s)
    return value


def queued_s(pid: int | None = None) -> float:
    """Time that the threads of a process (this one by default) were ready to run and had no core, s.

    Threads that have ended do not count; 0 where the kernel does not tell.
    """
    return sum(queued_by_thread(pid).values())


def queued_by_thread(pid: int | None = None) -> dict[str, float]:
    """The same of each thread, by its number."""
    waited: dict[str, float] = {}
    for thread in Path(f"/proc/{pid or os.getpid()}/task").glob("*/schedstat"):
        with suppress(OSError):  # it has ended
            waited[thread.parent.name] = int(thread.read_text().split()[1]) / 1e9
    return waited


def own_time_s() -> float:
    """A clock that stands still while threads of this process wait for a core: for limits on a process's own time."""
    return time.perf_counter() - queued_s()
