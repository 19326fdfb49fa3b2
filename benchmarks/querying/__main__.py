"""Seconds that all views take over archives of one and of many runs, in DuckDB and in ClickHouse (chDB).

Archives a recording of esper-lite, multiplies it as ``benchmarks.archive`` does, and asks each engine, in a process of
its own, for the count of all columns of every view::

    python -m benchmarks.querying [--runs 1,100] [--recording esper-lite-2env] [--esper-lite] [--merge]

``--esper-lite`` leaves it at the 19 views that esper-lite has. ``--merge`` merges the files first, as by ``esper-otel
compact ARCHIVE``, and DuckDB reads the merged ones; ClickHouse reads the segments' own files in any case.

chDB lies in an environment of its own, which ``sh scripts/chdb.sh`` makes. Times are seconds by the clock and, behind
them, of the processor.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.archive import DATA, VIEWS, multiply, only_part
from benchmarks.querying.asked import QUERIES, Times
from esper_otel.archive.address import address_of
from esper_otel.sql.archiving.merge import merge
from esper_otel.sql.archiving.whole import archive
from esper_otel.sql.clickhouse.archive import statements
from esper_otel.sql.clickhouse.creating import script
from esper_otel.sql.clickhouse.place import place_of
from esper_otel.sql.connect import MEMORY_LIMIT

ROOT: Final = Path(__file__).resolve().parents[2]
CHDB: Final = ROOT / ".tools" / "bin" / "chdb-python"
WIDEST: Final = 8
"""Views that have a row of their own in the table: those that took longest."""


def main() -> None:
    """Measure, and print a table in Markdown for each number of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="1,100")
    parser.add_argument("--recording", default="esper-lite-2env")
    parser.add_argument("--esper-lite", action="store_true")
    parser.add_argument("--merge", action="store_true")
    arguments = parser.parse_args()
    names = VIEWS if arguments.esper_lite else tuple(QUERIES)
    if not CHDB.exists():
        sys.exit("chDB is not installed: run 'sh scripts/chdb.sh'")
    with tempfile.TemporaryDirectory(prefix="querying-") as directory:
        first = Path(directory, "archive-1")
        archive(DATA / f"{arguments.recording}.jsonl.gz", address_of(f"file://{first}"))
        for count in map(int, arguments.runs.split(",")):
            place = first if count == 1 else Path(directory, f"archive-{count}")
            if count > 1:
                multiply(first, only_part(first), place, count)
            if arguments.merge:
                merge(address_of(f"file://{place}"), MEMORY_LIMIT, lambda told: print(told, file=sys.stderr))
            _print(count, _duckdb(place, names), _clickhouse(place, names))


def _duckdb(place: Path, names: Sequence[str]) -> Times:
    command = [sys.executable, "-m", "benchmarks.querying.asked", f"file://{place}/run_id=*", *names]
    return _times(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _clickhouse(place: Path, names: Sequence[str]) -> Times:
    queries = {name: QUERIES[name] for name in names}
    asked = {"script": script(statements(place_of(f"file://{place}"), "esper")), "queries": queries}
    command = [str(CHDB), str(Path(__file__).with_name("in_chdb.py"))]
    done = subprocess.run(command, input=json.dumps(asked), check=True, capture_output=True, text=True)
    return _times(done.stdout)


def _times(text: str) -> Times:
    return {name: (found[0], found[1], found[2]) for name, found in json.loads(text).items()}


def _print(count: int, duckdb: Times, clickhouse: Times) -> None:
    print(f"\n| {count:,} runs | DuckDB | of the processor | ClickHouse | of the processor | rows |")
    print("|---|--:|--:|--:|--:|--:|")
    views = [name for name in duckdb if duckdb[name][2] == clickhouse[name][2]]
    if different := duckdb.keys() - set(views):
        sys.exit(f"the engines have different numbers of rows in {', '.join(sorted(different))}")
    longest = sorted(views, key=lambda name: -max(duckdb[name][0], clickhouse[name][0]))[:WIDEST]
    for name in longest:
        _row(f"`{name}`", duckdb[name], clickhouse[name])
    _row(f"all {len(views)} views", *(_sum([times[name] for name in views]) for times in (duckdb, clickhouse)))
    _row("creation of the views", (0, 0, 0), clickhouse[""])


def _sum(times: list[tuple[float, float, int]]) -> tuple[float, float, int]:
    return sum(found[0] for found in times), sum(found[1] for found in times), sum(found[2] for found in times)


def _row(name: str, one: tuple[float, float, int], other: tuple[float, float, int]) -> None:
    cells = " | ".join(f"{seconds:.2f}" for seconds in (*one[:2], *other[:2]))
    print(f"| {name} | {cells} | {other[2]:,} |", flush=True)


if __name__ == "__main__":
    main()
