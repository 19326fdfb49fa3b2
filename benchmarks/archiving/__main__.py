"""Archives a long run through kills of its relay and an outage of the store; compares archive and log row by row.

    python -m benchmarks.archiving --minio PROGRAM [--events 5000000] [--ranks 2] [--kills 6] [--outage 150]

Ranks emit events as fast as the log takes them, in processes of their own. A relay follows them and archives into
MinIO, a real S3 server with a disk. The relay is killed (SIGKILL) in the middle of segments; in the middle of the run
the server is killed, stays away for ``--outage`` seconds, under a relay that is killed meanwhile as well, and is
started again. Then every view is asked of the archive and of the log, and the hashes of all rows are compared. The
exit status is 1 where one differs. MinIO is built by ``go build github.com/minio/minio`` in a Go module of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.archiving.relay import Relay
from benchmarks.archiving.store import BUCKET, Server
from benchmarks.table.machine import load
from esper_otel.archive.address import address_of
from esper_otel.archive.layout import SEGMENTS, place_of
from esper_otel.archive.store import ArchiveError, Store

URL: Final = f"s3://{BUCKET}/runs"
RUN: Final = "long"
EVENT_BYTES: Final = 850
"""About the bytes of an event in the log, by which kills are spread over the run."""

LOOK_S: Final = 1.0
INTO_SEGMENT_S: Final = (0.2, 6.0)
"""Seconds between the end of a segment and a kill, which falls into the next one."""


def main() -> int:
    """Run it; the exit status."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # with all processes that it started
    directory = Path(options.directory or tempfile.mkdtemp(prefix="archiving-"))
    try:
        return _campaign(options, directory)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minio", default=shutil.which("minio"), help="MinIO's program; default: that on the PATH")
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--kills", type=int, default=6, help="of the relay, beside one in the outage")
    parser.add_argument("--outage", type=float, default=150.0, help="seconds without the server")
    parser.add_argument("--segment-bytes", type=int, default=64 * 2**20)
    parser.add_argument("--directory", help="an empty directory, which is kept; default: a temporary one")
    options = parser.parse_args()
    if not options.minio:
        parser.error("give MinIO's program: --minio PROGRAM")
    return options


def _campaign(options: argparse.Namespace, directory: Path) -> int:
    load_before, began = load(), time.monotonic()
    server = Server(options.minio, directory / "objects")
    os.environ.update(server.variables())
    run = directory / "telemetry" / RUN
    trainers = [_trainer(directory / "telemetry", rank, options) for rank in range(options.ranks)]
    try:
        while not (run / "run.json").exists():
            time.sleep(LOOK_S)
        with (directory / "relay.log").open("w") as said:
            relay = Relay(run, URL, server.variables(), said)
            try:
                halves = _followed(relay, server, options)
            finally:
                relay.close()
        archived_s = time.monotonic() - began
        if any(trainer.wait() for trainer in trainers) or relay.status() != 0:
            sys.exit(f"the relay ended with status {relay.status()}: {(directory / 'relay.log').read_text()[-2000:]}")
        log_bytes = sum(path.stat().st_size for path in run.glob("events*.jsonl"))
        print(f"{options.ranks} ranks, load {load_before:.1f} before, {load():.1f} after\n\n| | |\n|---|--:|")
        _row("events", f"{options.events:,}")
        _row("bytes of the log", f"{log_bytes:,}, {log_bytes / options.events:.0f} an event")
        _stored(log_bytes, options.events)
        _row("seconds from the first event to the end of the archive", f"{archived_s:.0f}")
        figures = relay.figures
        _row("archiving processes, seconds of the processor", f"{sum(figures.core_s.values()):.0f}")
        _row("archiving processes, largest memory", f"{figures.peak_mb:.0f} MB")
        _row("kills of the relay", str(len(halves)))
        _row("segments that a kill left half uploaded, and that were done again", str(sum(halves)))
        _row("outage", f"{options.outage:.0f} s")
        _row("attempts that failed", f"{sum(figures.failures.values()):.0f}")
        return _compared(run, directory)
    finally:
        for trainer in trainers:
            trainer.kill()
        server.kill()


def _trainer(directory: Path, rank: int, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    events = options.events // options.ranks + (rank < options.events % options.ranks)
    values = {"run-id": RUN, "rank": rank, "ranks": options.ranks, "events": events}
    values["segment-bytes"] = options.segment_bytes
    given = [f"--{name}={value}" for name, value in values.items()]
    return subprocess.Popen([sys.executable, "-m", "benchmarks.archiving.training", str(directory), *given])


def _followed(relay: Relay, server: Server, options: argparse.Namespace) -> list[int]:
    """Follow the relay to its end with all faults on the way; of each kill how many segments it left half uploaded."""
    segments = max(options.events * EVENT_BYTES // options.segment_bytes, 1)
    due = [segments * number / (options.kills + 1) for number in range(1, options.kills + 1)]
    outage_at: float | None = segments / 2
    chance, halves = random.Random(1), []
    while relay.status() is None:
        relay.sample()
        done = len(_descriptions())
        if due and done >= due[0]:
            due.pop(0)
            time.sleep(chance.uniform(*INTO_SEGMENT_S))
            relay.kill()
            halves.append(_half_uploaded())
        elif outage_at is not None and done >= outage_at:
            outage_at = None
            _outage(relay, server, options.outage)
            halves.append(_half_uploaded())
        time.sleep(LOOK_S)
    if due or outage_at is not None:
        sys.exit(f"the relay ended with status {relay.status()} before all of its faults")
    return halves


def _outage(relay: Relay, server: Server, seconds: float) -> None:
    """The server goes, in the middle of a segment; the relay is killed half way; the server comes back."""
    server.kill()
    for half in range(2):
        back = time.monotonic() + seconds / 2
        while time.monotonic() < back:
            relay.sample()
            time.sleep(LOOK_S)
        if not half:
            relay.kill()
    server.start()


def _descriptions() -> list[str]:
    try:
        keys = [item.key for item in Store(address_of(URL)).items(SEGMENTS)]
    except ArchiveError:
        return []
    return [key for key in keys if place_of(key) is not None]


def _unnamed() -> set[str]:
    """Files that no description names."""
    store = Store(address_of(URL))
    named = {
        stored["name"]
        for key in _descriptions()
        for files in json.loads(store.get(key))["tables"].values()
        for stored in files
    }
    return {item.key for item in store.items(f"run_id={RUN}") if item.key.rpartition("/")[2] not in named}


def _half_uploaded() -> int:
    """Segments of which files lie there without a description."""
    return len({(key.split("/")[1], key.rpartition("/")[2].split(".")[1]) for key in _unnamed()})


def _stored(log_bytes: int, events: int) -> None:
    sizes: Counter[str] = Counter()
    for item in Store(address_of(URL)).items(""):
        sizes["descriptions" if item.key.startswith(SEGMENTS) else "files"] += item.size
    total = sizes.total()
    share = f"{total / events:.0f} an event, {total / log_bytes:.3f} of the log"
    _row("bytes of the archive", f"{total:,} ({sizes['descriptions']:,} of descriptions), {share}")
    _row("segments", str(len(_descriptions())))
    _row("files that no description names", str(len(_unnamed())))


def _compared(run: Path, directory: Path) -> int:
    """Ask log and archive, compare; the exit status."""
    (directory / "hashes").mkdir()
    asked = {"log": str(run), "archive": f"{URL}/run_id={RUN}"}
    found = {name: _hashed(name, each, directory) for name, each in asked.items()}
    names = sorted(found["log"]["rows"].keys() | found["archive"]["rows"].keys())
    different = {view: count for view in names if (count := _different(directory / "hashes", view))}
    _row("views with rows", str(len(names)))
    _row("rows compared", f"{sum(found['log']['rows'].values()):,}")
    _row("rows that differ", f"{sum(different.values()):,}")
    for view, count in different.items():
        print(f"{view}: {count:,} rows differ")
    return 1 if different else 0


def _hashed(name: str, run: str, directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.archiving.hashes", run, str(directory / "hashes" / name)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    text = f"{found['connected_s']:.0f} s to read, {found['seconds']:.0f} s with all rows, {found['peak_mb']:.0f} MB"
    _row(f"all rows of the {name}: time, largest memory of the asking process", text)
    return found


def _different(hashes: Path, view: str) -> int:
    """Rows that one side has and the other has not, or has less often."""
    one, other = hashes / "log" / view, hashes / "archive" / view
    if one.exists() and other.exists() and one.read_bytes() == other.read_bytes():
        return 0
    counts = [Counter(_read(path)) for path in (one, other)]
    return ((counts[0] - counts[1]) + (counts[1] - counts[0])).total()


def _read(path: Path) -> Iterator[int]:
    values = array("Q")
    if path.exists():
        values.frombytes(path.read_bytes())
    yield from values


def _row(name: str, value: str) -> None:
    print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
