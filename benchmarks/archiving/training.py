"""One rank of the long run: events of the recordings of esper-lite, emitted as fast as the log takes them.

Each round repeats the recordings with all fractions changed by up to 0.1 %, in so many versions that no row group of a
file holds one twice.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

import esper_otel
from benchmarks.sql_views import DATA, FRACTION, VARIANTS
from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.events import Event
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader

AHEAD: Final = 5_000
"""Events that wait for the disk at most: the queue is not what is measured."""

LOOK: Final = 500

Emitted = tuple[Event, str]


def main() -> None:
    """Emit ``--events`` events of one rank, and fail if one is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--segment-bytes", type=int, required=True)
    options = parser.parse_args()
    run = esper_otel.configure(
        telemetry_dir=options.directory,
        run_id=options.run_id,
        rank=options.rank,
        world_size=options.ranks,
        relay=False,
        segment_bytes=options.segment_bytes,
    )
    for number, (event, group) in enumerate(itertools.islice(_events(options.rank), options.events), start=1):
        esper_otel.emit(event, group_id=group)
        if number % LOOK == 0:
            while run.counters["emitted"] - run.counters["written"] > AHEAD:
                time.sleep(0.005)
    esper_otel.shutdown(timeout_s=60)
    counters = run.counters
    if counters["emitted"] != counters["written"]:
        raise SystemExit(f"rank {options.rank} lost events: {counters}")


def _events(rank: int) -> Iterator[Emitted]:
    records = [record for path in sorted(DATA.glob("*.jsonl.gz")) for record in _records(path)]
    if not records:
        raise SystemExit(f"no recording lies in {DATA}")
    versions: list[list[Emitted]] = []
    for seed in range(VARIANTS):
        versions.append(list(_varied(records, 1_000 * rank + seed)))
        yield from versions[-1]
    yield from itertools.chain.from_iterable(itertools.cycle(versions))


def _records(path: Path) -> Iterator[Record]:
    with LogReader(path) as reader:
        while batch := reader.read():
            yield from (record for record in batch if isinstance(record, Record))


def _varied(records: list[Record], seed: int) -> Iterator[Emitted]:
    changes = random.Random(seed)

    def change(match: re.Match[bytes]) -> bytes:
        return repr(float(match[0]) * changes.uniform(0.999, 1.001)).encode()

    for record in records:
        for event in adapt(msgspec.structs.replace(record, data=FRACTION.sub(change, record.data))).events:
            yield event, record.group_id


if __name__ == "__main__":
    main()
