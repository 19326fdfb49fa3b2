"""A run of several ranks as a relay exports it by all and in summary mode, at scrapes for promtool."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from msgspec import structs

from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.families import Family
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.metrics.summary import summarised
from esper_otel.relay.prometheus.exposition import to_prometheus
from esper_otel.signals import own

RANKS = 5
SCRAPES = 40
INTERVAL_S = 30
MODES = ("all", "summary")


def series_of(run: Path) -> dict[str, list[str]]:
    """Values of the series of a run, by all and in summary mode."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for number, (families, numbers) in enumerate(scrapes(run)):
        summary, _ = summarised(families, numbers)
        for name, value in (written(families, "all") | written(summary, "summary")).items():
            found[name] += ["_"] * (number - len(found[name])) + [value]
    return found


def scrapes(run: Path) -> Iterator[tuple[list[Family], dict[str, int]]]:
    """Families at scrapes, with the numbers of ranks and environments, of a run whose ranks all wrote the same log.

    Its lines are spread over the time of all scrapes.
    """
    reader, ingest, state, lines = LogReader(run), Ingest(), MetricState(), []
    while batch := reader.read(1_000):
        lines += batch
    reader.close()
    state.own[own.RUN_STATUS.name] = {("running",): 1.0}
    every = len(lines) // SCRAPES
    for number, item in enumerate(lines, 1):
        line = ingest.take(item)
        assert line.record is not None
        at_ns = 1 + number * INTERVAL_S * 1_000_000_000 // every
        for rank in range(RANKS):
            record = structs.replace(line.record, rank=rank, timestamp_ns=at_ns)
            account(state, structs.replace(line, record=record))
        if number % every == 0:
            yield state.collect(at_ns), state.limits.admitted


def written(families: list[Family], mode: str) -> dict[str, str]:
    """Values by series as promtool reads them."""
    found = {}
    for metric in map(to_prometheus, families):
        for sample in metric.samples:
            labels = {"job": "esper", "instance": mode, **sample.labels}
            text = ",".join(f'{name}="{value}"' for name, value in labels.items() if value)
            found[f"{sample.name}{{{text}}}"] = f"{sample.value:.12g}"
    return found
