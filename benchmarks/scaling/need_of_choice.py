"""Needs of any number of ranks by what their relays leave out: gateways, bytes a day, samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from benchmarks.scaling.choice import Cost
from benchmarks.scaling.page import table
from benchmarks.scaling.rank import INTERVAL_S
from benchmarks.scaling.sizing import (
    DAY_S,
    HEADROOM,
    HEALTHY_SHARE,
    PROMETHEUS_BYTES_PER_SAMPLE,
    RANKS_PER_NODE,
)
from benchmarks.scaling.steps import Climb, Step

BUSY: Final = 0.8
"""Share of its processors up to which a gateway kept up on an idle machine: between 0.75 and 0.86."""

SIZES: Final = (1, 100, 10_000)


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of a rank in a gateway, and the ranks that fit in.

    Attributes:
        cpu_s: CPU time a second for each rank.
        memory_bytes: memory for each further rank.
        by_cpu, by_memory: ranks that the processors and the memory are enough for.
    """

    cpu_s: float
    memory_bytes: float
    by_cpu: int
    by_memory: int

    @property
    def ranks(self) -> int:
        """Ranks that fit into one gateway."""
        return min(self.by_cpu, self.by_memory)


def capacity_of(climbed: Climb, items_per_s: float) -> Capacity | None:
    """Extrapolate the steps at which nothing was refused to a full gateway; None when there are fewer than two.

    ``items_per_s``: items of one rank. The load of a step counts by the items that came: a generator that is behind,
    since the machine has other work, makes a smaller load and no other cost of an item.
    """
    kept = [step for step in climbed.steps if not step.refused]
    if len(kept) < 2:
        return None
    first, last, shape = kept[0], kept[-1], climbed.shape
    ranks = last.items_per_s / items_per_s
    memory = max((last.memory_bytes - first.memory_bytes) / (ranks - first.items_per_s / items_per_s), 1.0)
    cpu_s = last.cpu_s_per_s / ranks
    free = shape.limit_mib * 2**20 - last.memory_bytes
    return Capacity(
        cpu_s=cpu_s,
        memory_bytes=memory,
        by_cpu=int(shape.cores * BUSY / cpu_s),
        by_memory=int(ranks + free / memory),
    )


def costs(measured: Sequence[tuple[Cost, Capacity | None]]) -> str:
    """One rank, a column for each choice."""
    all_costs = [cost for cost, _ in measured]
    rows = [
        ("series, a node's over its ranks", [f"{c.series:,.0f}" for c in all_costs]),
        ("OTLP metrics, kB/s", [f"{c.metrics_bytes / INTERVAL_S / 1e3:,.1f}" for c in all_costs]),
        ("spans a round", [f"{c.spans:,.1f}" for c in all_costs]),
        ("traces, kB a round", [f"{c.span_bytes / 1e3:,.1f}" for c in all_costs]),
        ("log events a round", [f"{c.records:,.1f}" for c in all_costs]),
        ("logs, kB a round", [f"{c.record_bytes / 1e3:,.1f}" for c in all_costs]),
        ("OTLP in all, kB/s", [f"{c.bytes_per_s / 1e3:,.1f}" for c in all_costs]),
        ("archive, kB a round", [f"{c.archive_bytes / 1e3:,.1f}" for c in all_costs]),
    ]
    if all(capacity for _, capacity in measured):
        found = [capacity for _, capacity in measured if capacity]
        rows += [
            ("gateway: CPU, ms/s", [f"{c.cpu_s * 1e3:,.2f}" for c in found]),
            ("gateway: memory, MiB", [f"{c.memory_bytes / 2**20:,.1f}" for c in found]),
            ("ranks for which its processors are enough", [f"{c.by_cpu:,}" for c in found]),
            ("ranks for which its memory is enough", [f"{c.by_memory:,}" for c in found]),
        ]
    return table(("one rank", *(cost.choice for cost in all_costs)), [(name, *cells) for name, cells in rows])


def needs(measured: Sequence[tuple[Cost, Capacity | None]]) -> str:
    """Needs of each number of ranks with each choice."""
    rows = [_need(ranks, cost, capacity) for ranks in SIZES for cost, capacity in measured]
    head = ("ranks", "relays leave out", "series", "samples/s", "gateways", "OTLP to them", "logs", "traces kept")
    return table((*head, "metrics", "live, in all", "archive"), rows)


def _need(ranks: int, cost: Cost, capacity: Capacity | None) -> tuple[str, ...]:
    series = ranks * cost.series
    kept = cost.anomalous_share + (1 - cost.anomalous_share) * HEALTHY_SHARE
    a_day = ranks * DAY_S / cost.round_s
    logs, traces = a_day * cost.record_bytes, a_day * cost.span_bytes * kept
    samples = series / INTERVAL_S
    metrics = samples * DAY_S * PROMETHEUS_BYTES_PER_SAMPLE
    if ranks <= RANKS_PER_NODE:
        gateways = "–"
    else:
        gateways = "" if capacity is None else f"{max(math.ceil(ranks / (HEADROOM * capacity.ranks)), 2):,}"
    return (
        f"{ranks:,}",
        cost.choice,
        f"{series:,.0f}",
        f"{samples:,.0f}",
        gateways,
        *(_size(one) for one in (ranks * cost.bytes_per_s * DAY_S, logs, traces, metrics, logs + traces + metrics)),
        _size(a_day * cost.archive_bytes),
    )


def _size(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if number >= size:
            return f"{number / size:,.3g} {unit}"
    return f"{number / 1e6:,.3g} MB"


def steps(measured: Sequence[tuple[Cost, Climb]]) -> str:
    """Every step that was taken."""
    rows = [_row(cost.choice, step) for cost, climbed in measured for step in climbed.steps]
    return table(("relays leave out", "ranks", "items/s", "CPU, cores", "memory, MiB", "refused", "lag"), rows)


def _row(choice: str, step: Step) -> tuple[str, ...]:
    return (
        choice,
        f"{step.ranks:,}",
        f"{step.items_per_s:,.0f}",
        f"{step.cpu_s_per_s:.2f}",
        f"{step.memory_bytes / 2**20:,.0f}",
        f"{step.refused:,.0f}",
        step.lag or "–",
    )
