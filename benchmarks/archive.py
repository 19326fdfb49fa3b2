"""Size of an archive, and times of the views over many archived runs.

Archives a recording of esper-lite and multiplies it: the copies share its files (hard links) and have descriptions of
their own, each an hour later than the one before. Then asks, in a process of its own for each number of runs, all
columns of the 19 views that esper-lite has, the list of runs, and a query for one hour::

    python -m benchmarks.archive [--runs 1,100,10000] [--recording esper-lite-2env] [--views 19] [--merge]

With ``--merge`` the files of the runs are merged first, as by ``esper-otel compact ARCHIVE``. Times are seconds by the
clock and, behind them, of the processor. The archive is a directory (``file://``), ``--directory`` or a temporary one:
what a network adds is the requests, whose number is shown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.archive.address import Address, address_of
from esper_otel.archive.layout import SEGMENTS, Part, data_folder, decoded
from esper_otel.runs.listing import rows_in
from esper_otel.sql import connect
from esper_otel.sql.archiving.merge import merge
from esper_otel.sql.archiving.whole import archive
from esper_otel.sql.connect import MEMORY_LIMIT

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
HOUR_US: Final = 3_600_000_000

VIEWS: Final = (
    *("raw_events", "runs", "epochs", "ppo_updates", "batch_epochs", "batch_stats", "seed_lifecycle", "decisions"),
    *("rewards", "trends", "anomalies", "episode_outcomes", "run_confounders", "action_distribution"),
    *("phase_occupancy", "reward_calibration", "morphology_causal_log", "rejected_lines", "rejected_fields"),
)
"""The views that esper-lite has, by its names."""


def main() -> None:
    """Measure, and print a table in Markdown."""
    arguments = _arguments()
    if arguments.measure:
        _measure(arguments.measure, arguments.views)
        return
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="archive-"))
    counts = [int(count) for count in arguments.runs.split(",")]
    log = DATA / f"{arguments.recording}.jsonl.gz"
    first = archive(log, address_of(f"file://{directory}/archive-1"))
    part = only_part(directory / "archive-1")
    print(
        f"\n{log.name}: {part.lines} lines, {part.end:,} bytes of log; archived {first.size_bytes:,} bytes in"
        f" {sum(map(len, part.tables.values()))} files: {first.size_bytes / part.lines:.0f} bytes an event,"
        f" {first.size_bytes / part.end:.3f} of the log"
    )
    for count in counts:
        place = directory / f"archive-{count}"
        if count > 1:
            multiply(directory / "archive-1", part, place, count)
        if arguments.merge:
            with _timed("merge") as found:
                found.append(merge(address_of(f"file://{place}"), MEMORY_LIMIT, print).segments)
        command = [
            sys.executable,
            "-m",
            "benchmarks.archive",
            "--measure",
            f"file://{place}",
            "--views",
            str(arguments.views),
        ]
        print(f"\n{count:,} runs\n", flush=True)
        subprocess.run(command, check=True)
    if arguments.directory is None:
        shutil.rmtree(directory)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="1,100,10000")
    parser.add_argument("--recording", default="esper-lite-2env")
    parser.add_argument("--views", type=int, default=len(VIEWS))
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def only_part(place: Path) -> Part:
    """The description of the one segment of an archive."""
    (path,) = (place / SEGMENTS).rglob("*-000001-*.json")
    return decoded(path.read_bytes(), str(path.relative_to(place)))


def multiply(source: Path, part: Part, target: Path, count: int) -> None:
    """Make an archive of ``count`` runs with the files of ``part``."""
    for number in range(count):
        assert part.span is not None
        assert part.span.first_us is not None
        assert part.span.last_us is not None
        later = number * HOUR_US
        span = msgspec.structs.replace(
            part.span, first_us=part.span.first_us + later, last_us=part.span.last_us + later
        )
        copy = msgspec.structs.replace(part, run=f"run-{number:05d}", span=span)
        description = target / copy.key
        description.parent.mkdir(parents=True)
        description.write_bytes(msgspec.json.encode(copy))
        folder = target / data_folder(copy.run, copy.rank)
        folder.mkdir(parents=True)
        for stored in (stored for files in part.tables.values() for stored in files):
            os.link(source / part.folder / stored.name, folder / stored.name)


def _measure(url: str, views: int) -> None:
    address: Address = address_of(url).of_every_run
    print("| query | seconds | of the processor | rows |\n|---|--:|--:|--:|")
    with _timed("list of runs") as found:
        found.append(len(rows_in(Path(url))))
    first = (rows_in(Path(url))[0].listed or sys.exit("no run")).summary.first_us or 0
    asked = {view: f"SELECT count(*), count(COLUMNS(*)) FROM {view}" for view in VIEWS[:views]}
    hour = f"timestamp BETWEEN make_timestamp({first}) AND make_timestamp({first + HOUR_US // 2})"
    for name, query in {"`decisions` of one hour": f"SELECT count(*) FROM decisions WHERE {hour}", **asked}.items():
        with (
            _timed(name if name.startswith("`") else f"`{name}`") as found,
            connect([str(address)], query=query) as runs,
        ):
            found.append(runs.execute(query).fetchall()[0][0])


@contextmanager
def _timed(name: str) -> Iterator[list[int]]:
    found: list[int] = []
    began, used = time.perf_counter(), time.process_time()
    yield found
    seconds, core = time.perf_counter() - began, time.process_time() - used
    print(f"| {name} | {seconds:.2f} | {core:.2f} | {found[0]:,} |", flush=True)


if __name__ == "__main__":
    main()
