"""Series of a relay in summary mode: planned, and of recorded runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import structs

from benchmarks.scaling.page import table
from benchmarks.scaling.sizing import RANKS_PER_NODE
from esper_otel.alerts.needed import NEEDED
from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.families import Family, HistogramPoint
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.metrics.summary import summarised
from esper_otel.signals.cardinality import cardinalities, series_of_a_point
from esper_otel.signals.registry import SIGNALS
from esper_otel.signals.summary import summary_series

SIZES: Final = (1, RANKS_PER_NODE)


def series_of(families: Iterable[Family]) -> int:
    """Prometheus series of ``families``."""
    return sum(
        series_of_a_point(len(family.bounds)) if isinstance(point, HistogramPoint) else 1
        for family in families
        for point in family.points.values()
    )


def recorded(log: Path, ranks: int) -> tuple[int, int]:
    """Series of a relay of ``ranks`` ranks that all wrote what ``log`` holds: everything, and its summary."""
    reader, ingest, state = LogReader(log), Ingest(), MetricState()
    while items := reader.read(500):
        for item in items:
            line = ingest.take(item)
            if line.record is not None:
                for rank in range(ranks):
                    account(state, structs.replace(line, record=structs.replace(line.record, rank=rank)))
    reader.close()
    families = state.collect(state.last_ns)
    summary, _ = summarised(families, state.limits.admitted)
    return series_of(families), series_of(summary)


def planned(ranks: int) -> tuple[int, int]:
    """Planned series of a relay of ``ranks`` ranks: everything, and its summary."""
    everything = sum(one.planned_series for one in cardinalities(SIGNALS).values())
    return ranks * everything, sum(summary_series(SIGNALS, NEEDED, ranks=ranks).values())


def summary(logs: Iterable[tuple[str, Path]]) -> str:
    """Series of one rank: planned, and of each of ``logs`` under its name."""
    found = [("planned rank", [planned(ranks) for ranks in SIZES])]
    found += [(name, [recorded(log, ranks) for ranks in SIZES]) for name, log in logs]
    head = ("series of a rank", *(f"{what}, {_relay(n)}" for n in SIZES for what in ("everything", "summary")))
    rows = [
        (name, *(f"{series / ranks:,.0f}" for ranks, pair in zip(SIZES, pairs, strict=True) for series in pair))
        for name, pairs in found
    ]
    return table(head, rows)


def _relay(ranks: int) -> str:
    return "a relay of its own" if ranks == 1 else f"a relay of {ranks}"
