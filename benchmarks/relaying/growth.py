"""Growth of the relay's cost of an event with series, ranks on the node and length of the log; cost of a scrape.

    python -m benchmarks.relaying.growth [--events 40000] [--long 10000000]

CPU time is measured as in :mod:`benchmarks.relay`, with metrics, spans, log events and OTLP on. Memory is the largest
resident size of the relay. A scrape is one request of a relay that stands still at the end of its log.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard

from benchmarks.alternatives.sink import sink
from benchmarks.emit import decision, percentile
from benchmarks.relay import EVENT_NS, MODES, write_log
from esper_otel.events import RunEnded
from esper_otel.log.encode import Envelope, LineEncoder

EVERYTHING: Final = "metrics, spans, logs, OTLP metrics"
SERIES: Final = {"fewest": (1, 1), "1,000": (4, 28), "10,000": (16, 140)}
"""Groups and environments that give about so many series; a run has some 180 counters at 0 alone."""

RANKS: Final = (1, 4, 16)
SCRAPES: Final = 15
SEGMENT_LINES: Final = 100_000
LOOK_S: Final = 0.05
CORE_REPEATS: Final = 5
TICKS: Final = os.sysconf("SC_CLK_TCK")


def growth(events: int, long: int) -> dict[str, list[dict[str, Any]]]:
    """The tables ``core``, ``series``, ``ranks``, ``length`` and ``scrape``."""
    with tempfile.TemporaryDirectory() as temporary, sink() as endpoint:
        place = Path(temporary)
        write_log(place / "empty", 0)
        idle_s, idle_bytes = _replay(place / "empty", endpoint)
        tables: dict[str, list[dict[str, Any]]] = {"core": [], "series": [], "ranks": [], "length": [], "scrape": []}
        tables["core"].append({"events_per_s": _on_one_core(place, endpoint, events)})
        for groups, envs in SERIES.values():
            run = place / f"groups{groups}"
            _with_series(run, groups, envs, events)
            cpu_s, _ = _replay(run, endpoint)
            tables["scrape"].append(_scrape(run))
            series = tables["scrape"][-1]["series"]
            tables["series"].append({"series": series, "cpu_us": (cpu_s - idle_s) / events * 1e6})
        for ranks in RANKS:
            run = place / f"ranks{ranks}"
            _with_ranks(run, ranks, events)
            cpu_s, _ = _replay(run, endpoint)
            tables["ranks"].append({"ranks": ranks, "cpu_us": (cpu_s - idle_s) / events * 1e6})
        for lines in (long // 10, long):
            run = place / f"length{lines}"
            _long(run, lines)
            cpu_s, peak = _replay(run, endpoint)
            row = {"events": lines, "cpu_us": (cpu_s - idle_s) / lines * 1e6, "peak_mb": peak / 1e6}
            tables["length"].append(row | {"idle_mb": idle_bytes / 1e6})
    return tables


def _on_one_core(place: Path, endpoint: str, events: int) -> float:
    """Events a second of a relay bound to one core, by wall time.

    The median of some pairs of replays, of which one is four times as long: what every relay takes to begin and end,
    waits included, is in both.
    """
    short, long = write_log(place / "core", events), write_log(place / "core4", 4 * events)
    rates = []
    for _ in range(CORE_REPEATS):
        took = []
        for name in ("core", "core4"):
            started = time.monotonic()
            _replay(place / name, endpoint, "taskset", "--cpu-list", "0")
            took.append(time.monotonic() - started)
        rates.append((long - short) / (took[1] - took[0]))
    return statistics.median(rates)


def _encoded(run_id: str, rank: int, events: int, group_of: int, env_of: int) -> Iterator[bytes]:
    """Lines of decisions that are spread over ``group_of`` groups and ``env_of`` environments."""
    encoder, template, started_ns = LineEncoder(run_id, rank), decision(), time.time_ns()
    for number in range(events):
        env, group = number % env_of, number // env_of % group_of
        event = msgspec.structs.replace(template, env_id=env, inner_epoch=number // env_of % 150, episode_idx=1)
        envelope = Envelope(started_ns + number * EVENT_NS, f"g{group}", None, None, number + 1)
        yield encoder.encode(event, envelope)[0]
    ended = Envelope(started_ns + events * EVENT_NS, "g0", None, None, events + 1)
    yield encoder.encode(RunEnded(outcome="finished"), ended)[0]


def _with_series(run: Path, groups: int, envs: int, events: int) -> None:
    run.mkdir()
    with (run / "events.jsonl").open("wb") as log:
        log.writelines(_encoded(run.name, 0, events, groups, envs))


def _with_ranks(run: Path, ranks: int, events: int) -> None:
    run.mkdir()
    for rank in range(ranks):
        name = "events.jsonl" if rank == 0 else f"events.rank{rank}.jsonl"
        with (run / name).open("wb") as log:
            log.writelines(_encoded(run.name, rank, events // ranks, 1, 4))


def _long(run: Path, events: int) -> None:
    """A run of many closed and compressed segments: as it lies on a disk, and small enough for this one."""
    run.mkdir()
    lines = _encoded(run.name, 0, events, 1, 4)
    for number in range(1, -(-events // SEGMENT_LINES) + 1):
        packer = zstandard.ZstdCompressor(1)
        path = run / f"events.{number:06d}.jsonl.zst"
        with path.open("wb") as file, packer.stream_writer(file) as packed:
            for line in itertools.islice(lines, SEGMENT_LINES):
                packed.write(line)
    (run / "events.jsonl").write_bytes(b"".join(lines))


def _environment(endpoint: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ESPER_OTEL_"))}
    if endpoint is None:
        return kept | {"OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    return kept | MODES[EVERYTHING] | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}


def _replay(run: Path, endpoint: str, *before: str) -> tuple[float, float]:
    """CPU time in s and largest resident size in bytes of a relay that replays ``run`` from its start."""
    command = [
        *before,
        sys.executable,
        "-m",
        "esper_otel.relay",
        str(run),
        "--from-start",
        "--linger",
        "0",
        "--drain",
        "600",
    ]
    peak = 0.0
    with subprocess.Popen(command, env=_environment(endpoint), stderr=subprocess.DEVNULL) as child:
        done = 0
        while not done:
            peak = max(peak, _largest_resident(child.pid))
            time.sleep(LOOK_S)
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"the relay of {run.name} ended with status {child.returncode}")
    return usage.ru_utime + usage.ru_stime, peak


def _largest_resident(pid: int) -> float:
    """Bytes. The usage that wait4 reports counts the memory of the process that forked as well."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


@contextmanager
def _standing(run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A relay at the end of its log, and its address."""
    command = [sys.executable, "-m", "esper_otel.relay", str(run), "--from-start", "--linger", "600"]
    with subprocess.Popen(command, env=_environment(None), stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        url = ""
        for line in child.stderr:
            url = next((word.rstrip(";") for word in line.split() if word.startswith("http://")), url)
            if "the run is over" in line:
                break
        try:
            yield child, url
        finally:
            child.terminate()
            child.stderr.read()


def _scrape(run: Path) -> dict[str, Any]:
    with _standing(run) as (child, url):
        times, body = [], b""
        before = _cpu_s(child.pid)
        for _ in range(SCRAPES):
            started = time.perf_counter()
            with urllib.request.urlopen(url) as answer:
                body = answer.read()
            times.append(time.perf_counter() - started)
        cpu_s = (_cpu_s(child.pid) - before) / SCRAPES
    series = sum(1 for line in body.splitlines() if line and not line.startswith(b"#"))
    return {
        "series": series,
        "median_ms": statistics.median(times) * 1e3,
        "p99_ms": percentile(times, 0.99) * 1e3,
        "cpu_ms": cpu_s * 1e3,
        "bytes": len(body),
    }


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--long", type=int, default=10_000_000, help="events of the longest log")
    arguments = parser.parse_args()
    for name, rows in growth(arguments.events, arguments.long).items():
        for row in rows:
            print(name, msgspec.json.encode(row).decode())


if __name__ == "__main__":
    main()
