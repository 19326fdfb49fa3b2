"""Sizing for a number of ranks, computed from one rank's figures and stated assumptions about the back ends."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from benchmarks.scaling.rank import Rank

RANKS_PER_NODE: Final = 8
HEADROOM: Final = 0.5
"""Share of what a gateway sustained that it is given: one that fails leaves its load to the others."""

HEALTHY_SHARE: Final = 0.1
"""Default share of the healthy rounds that the gateways keep."""

PROMETHEUS_BYTES_PER_SERIES: Final = 8 * 1024
PROMETHEUS_BYTES_PER_SAMPLE: Final = 2.0
PROMETHEUS_MOST_SERIES: Final = 5_000_000
"""Above it one server of 64 GiB is too small, with room for queries: Mimir."""

RETENTION_S: Final = 15 * 86_400
MIMIR_SAMPLES_PER_CORE: Final = 25_000
MIMIR_SERIES_PER_CORE: Final = 300_000
MIMIR_GB_PER_300K_SERIES: Final = 2.5
MIMIR_REPLICATION: Final = 3
MIMIR_SPARE: Final = 1.5
TEMPO_BYTES_PER_DISTRIBUTOR: Final = 10e6
TEMPO_BYTES_PER_LIVE_STORE: Final = 6e6
LOKI_TIERS: Final = (
    (3e12, "Loki, 38 cores and 59 GiB"),
    (30e12, "Loki, 431 cores and 857 GiB"),
    (40e12, "Loki, 1,221 cores and 2,235 GiB"),
)
"""Bytes a day, and the sums over the components that its documentation gives."""
DAY_S: Final = 86_400


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Needs of ``ranks`` ranks.

    Attributes:
        samples_per_s: at one scrape every 15 s.
        agents, gateways: collectors; none for one rank, whose machine runs ``local.yaml``.
        metrics: the metrics back end in words.
        traces_bytes_per_s: traces kept, bytes/s before compression.
        traces: Tempo in words.
        logs_bytes_per_day: log records, bytes a day before compression.
        logs: Loki in words.
    """

    ranks: int
    series: int
    samples_per_s: float
    agents: int
    gateways: int
    metrics: str
    traces_bytes_per_s: float
    traces: str
    logs_bytes_per_day: float
    logs: str


def need(ranks: int, rank: Rank, ranks_per_gateway: int) -> Need:
    """Size everything for ``ranks`` ranks, given the number of them that one gateway sustained."""
    series = ranks * rank.series
    samples_per_s = series / 15
    kept = rank.anomalous_share + (1 - rank.anomalous_share) * HEALTHY_SHARE
    traces_bytes_per_s = ranks * rank.span_bytes / rank.round_s * kept
    logs_bytes_per_day = ranks * rank.record_bytes / rank.round_s * DAY_S
    is_one = ranks <= RANKS_PER_NODE
    gateways = math.ceil(ranks / (HEADROOM * ranks_per_gateway))
    return Need(
        ranks=ranks,
        series=series,
        samples_per_s=samples_per_s,
        agents=0 if is_one else math.ceil(ranks / RANKS_PER_NODE),
        gateways=0 if is_one else max(gateways, 2),
        metrics=_metrics(series, samples_per_s),
        traces_bytes_per_s=traces_bytes_per_s,
        traces=_traces(traces_bytes_per_s),
        logs_bytes_per_day=logs_bytes_per_day,
        logs=_logs(logs_bytes_per_day),
    )


def _metrics(series: int, samples_per_s: float) -> str:
    disk = samples_per_s * RETENTION_S * PROMETHEUS_BYTES_PER_SAMPLE / 1e9
    if series <= PROMETHEUS_MOST_SERIES:
        memory = series * PROMETHEUS_BYTES_PER_SERIES / 2**30
        return f"Prometheus, {memory:,.2g} GiB memory, {disk:,.2g} GB disk"
    cores = samples_per_s / MIMIR_SAMPLES_PER_CORE
    replicated = series * MIMIR_REPLICATION / MIMIR_SERIES_PER_CORE
    memory = replicated * MIMIR_GB_PER_300K_SERIES * MIMIR_SPARE
    return (
        f"Mimir: distributors {math.ceil(cores)} cores and {math.ceil(cores)} GB, ingesters "
        f"{math.ceil(replicated)} cores and {math.ceil(memory):,} GB; {disk:,.0f} GB of blocks"
    )


def _traces(bytes_per_s: float) -> str:
    if bytes_per_s < TEMPO_BYTES_PER_LIVE_STORE:
        return "Tempo, one process"
    distributors = math.ceil(bytes_per_s / TEMPO_BYTES_PER_DISTRIBUTOR)
    live_stores = math.ceil(bytes_per_s / TEMPO_BYTES_PER_LIVE_STORE)
    return f"Tempo: {_counted(distributors, 'distributor')}, {_counted(live_stores, 'live-store')}"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _logs(bytes_per_day: float) -> str:
    if bytes_per_day < 100e9:
        return "Loki, one process"
    return next((size for below, size in LOKI_TIERS if bytes_per_day < below), "beyond Loki's documented sizes")
