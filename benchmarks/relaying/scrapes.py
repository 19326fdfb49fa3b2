"""Processor time of a scrape, beside that of the client library: ``python -m benchmarks.relaying.scrapes [SERIES]``.

Decisions of many environments and groups, as :mod:`benchmarks.relaying.growth` has them. Each number changes between
two scrapes; the least of some scrapes is shown, in turns with the library. "Collected" is the part that both need:
families from the state of the metrics.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable

import msgspec
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from benchmarks.emit import decision
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.prometheus.application import LEVEL
from esper_otel.relay.prometheus.exposition import FamilyCollector, registry_of
from esper_otel.relay.prometheus.templates import Templates

GROUPS = 16
REPEATS = 15


def _apply(state: MetricState, envs: int, number: int) -> None:
    for group in range(GROUPS):
        for env in range(envs):
            event = msgspec.structs.replace(decision(), env_id=env, total_reward=number + env / 7)
            state.apply(event, f"g{group}", 0, 1_000_000_000 + number)


def _least(ways: dict[str, Callable[[], object]], between: Callable[[int], None]) -> dict[str, float]:
    """Least processor time of each way, ms, in turns."""
    least = dict.fromkeys(ways, float("inf"))
    for number in range(REPEATS):
        between(number)
        for name, way in ways.items():
            began = time.process_time()
            way()
            least[name] = min(least[name], 1e3 * (time.process_time() - began))
    return least


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="?", type=int, default=10_000)
    series = parser.parse_args().series
    state = MetricState()
    envs = max(1, round(series / GROUPS / 3.6))  # series of an environment
    _apply(state, envs, 0)
    collector = FamilyCollector(lambda: state.collect(state.last_ns), {"service.name": "esper"})
    registry, text, open_text = registry_of(collector), Templates(generate_latest), Templates(openmetrics)
    count = sum(not line.startswith("#") for line in text.text(collector).splitlines())
    page = openmetrics(registry)
    least = _least(
        {
            "collected": collector.families,
            "text": lambda: text.text(collector),
            "text, library": lambda: generate_latest(registry),
            "OpenMetrics": lambda: open_text.text(collector),
            "OpenMetrics, library": lambda: openmetrics(registry),
            "gzip": lambda: gzip.compress(page, LEVEL),
            "gzip, library": lambda: gzip.compress(page),
        },
        lambda number: _apply(state, envs, number),
    )
    print(f"{count:,} series, {len(page):,} bytes\n\n| part | ms | library, ms | ratio |\n|---|--:|--:|--:|")
    for part in ("text", "OpenMetrics", "gzip"):
        ours, theirs = least[part], least[f"{part}, library"]
        print(f"| {part} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |")
    print(f"| of it collected | {least['collected']:.1f} | {least['collected']:.1f} | 1 |")


if __name__ == "__main__":
    main()
