"""Activity of torch.compile: the counters of torch._dynamo as totals, and events for new entries.

Nothing is imported for it: a program that never compiled has no ``torch._dynamo.utils``, and then there is nothing to
read. Reading is a few dictionary look-ups on the host.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final

import msgspec

from esper_otel.events import CompilerStats, Event, GraphBreak, Recompilation
from esper_otel.sensors.faults import Faults

MAX_EVENTS: Final = 32
"""Events of one kind per reading: a recompilation storm is counted in full but reported in part."""

CACHES: Final = {
    "inductor": ("inductor", "fxgraph_cache"),
    "aot_autograd": ("aot_autograd", "autograd_cache"),
    "dynamo": ("dynamo_cache", "dynamo_cache"),
}
"""Cache -> where dynamo counts its hits, misses and bypasses."""


class CompilerReading(msgspec.Struct, frozen=True):
    """One reading: the totals, and events for the graph breaks and recompilations since the last one."""

    stats: CompilerStats
    news: tuple[Event, ...]


class CompilerSensor:
    """Reads torch._dynamo's counters."""

    def __init__(self, *, faults: Faults | None = None) -> None:
        """Start; the first reading includes everything that happened before."""
        self.faults = faults or Faults()
        self._is_on = True
        self._seen_breaks: Counter[str] = Counter()
        self._last_compilation: Any = None

    def take(self) -> CompilerReading | None:
        """The current state; None if nothing was compiled."""
        dynamo = sys.modules.get("torch._dynamo.utils")
        if dynamo is None or not self._is_on:
            return None
        try:
            return CompilerReading(self._stats(dynamo), (*self._graph_breaks(dynamo), *self._recompilations(dynamo)))
        except (AttributeError, TypeError, KeyError) as error:
            self._is_on = False  # another version of torch keeps its books differently
            self.faults.note("compiler", "unreadable", f"torch._dynamo.utils: {error!r}")
            return None

    def _stats(self, dynamo: Any) -> CompilerStats:
        counters = dynamo.counters
        return CompilerStats(
            graph_breaks=sum(counters.get("graph_break", {}).values()),
            recompilations=_recompilation_total(),
            unique_graphs=counters.get("stats", {}).get("unique_graphs", 0),
            cache_hits=_by_cache(counters, "hit"),
            cache_misses=_by_cache(counters, "miss"),
            cache_bypasses=_by_cache(counters, "bypass"),
            compile_time_s=dynamo.calculate_time_spent().get("total_wall_time", 0.0),
        )

    def _graph_breaks(self, dynamo: Any) -> list[GraphBreak]:
        current = Counter(dynamo.counters.get("graph_break", {}))
        if any(current[reason] < count for reason, count in self._seen_breaks.items()):
            self._seen_breaks.clear()  # somebody cleared the counters
        new = current - self._seen_breaks
        self._seen_breaks = current
        places = {entry.reason: entry.user_stack for entry in getattr(dynamo, "graph_break_reasons", [])}
        return [
            GraphBreak(reason=_first_line(reason), location=_location(places.get(reason)), count=count)
            for reason, count in list(new.items())[:MAX_EVENTS]
        ]

    def _recompilations(self, dynamo: Any) -> list[Recompilation]:
        metrics = dynamo.get_compilation_metrics()
        new = []
        for entry in reversed(metrics):
            if entry is self._last_compilation:
                break
            new.append(entry)
        if metrics:
            self._last_compilation = metrics[-1]
        again = [entry for entry in reversed(new) if entry.recompile_reason]
        return [_recompilation(entry) for entry in again[-MAX_EVENTS:]]


def _recompilation_total() -> int:
    """Compilations of a frame beyond its first, which dynamo numbers 0/1, 0/2 and so on."""
    frames = sys.modules.get("torch._dynamo.convert_frame")
    return sum(max(count - 1, 0) for count in frames.FRAME_COMPILE_COUNTER.values()) if frames else 0


def _recompilation(entry: Any) -> Recompilation:
    return Recompilation(
        function=entry.co_name,
        location=f"{entry.co_filename}:{entry.co_firstlineno}" if entry.co_filename else None,
        guard=_first_line(entry.recompile_reason),
        compile_id=entry.compile_id,
        cache_size=entry.cache_size,
        compile_time_s=entry.duration_us / 1e6 if entry.duration_us is not None else None,
    )


def _by_cache(counters: Any, outcome: str) -> dict[str, int]:
    return {cache: counters.get(group, {}).get(f"{prefix}_{outcome}", 0) for cache, (group, prefix) in CACHES.items()}


def _first_line(text: str) -> str:
    return " ".join(text.strip().splitlines()[0].split("  # ")[0].split())


def _location(stack: Any) -> str | None:
    return f"{stack[-1].filename}:{stack[-1].lineno}" if stack else None
