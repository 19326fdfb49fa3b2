"""Load of the machine while something was measured."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Final

from benchmarks.table.machine import load, machine

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class Machine:
    """Takes note of the machine's work from now on."""

    def __init__(self) -> None:
        """Begin."""
        self._begin = time.perf_counter()
        self._date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        self._load = load()
        self._busy_s, self._stolen_s = _used_s()
        self._own_s = _own_s()

    def said(self) -> str:
        """Date, machine, load before and after, and what others took of its cores, in Markdown."""
        took_s = time.perf_counter() - self._begin
        busy_s, stolen_s = _used_s()
        cores = os.cpu_count() or 1
        others = (busy_s - self._busy_s - (_own_s() - self._own_s)) / took_s / cores
        known = machine()
        return (
            f"{self._date} UTC, {took_s / 60:.0f} minutes; {known['processor']}, {known['system']}; load "
            f"{self._load:.1f} before, {load():.1f} at the end, of it about 1 the benchmark's own. Other processes had "
            f"{max(others, 0):.1%} of the cores, the host took {(stolen_s - self._stolen_s) / took_s / cores:.1%}."
        )


def _used_s() -> tuple[float, float]:
    """CPU time of all cores since the start, and what the host took of it: user, nice, system, irq; steal."""
    fields = [int(field) * TICK_S for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    return user + nice + system + irq + softirq, steal


def _own_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
