"""esper-lite on its mock data, alone, with the instrumentor, and followed by a relay: counts and cost.

    ESPER_LITE_SRC=/path/to/esper-lite python -m benchmarks.esper_lite [--repeats 5] [--rounds 3] [--ways alone,…]

``ESPER_LITE_PYTHON`` is an interpreter that has what esper-lite needs, and this package installed; default this one.
The ways take turns. Time is that of the training alone, from its first epoch to its last; CPU time that of the
training process, all its threads (user and system), from start to end. In every way esper-lite writes its own file,
which is what ours is held against: the same events, and counters that equal a count of its lines.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[1]
DRIVER = ROOT / "tests" / "esper_lite" / "train_on_mock_data.py"
STATISTICS = "hub statistics: "
WAYS = ("alone", "instrumentor", "followed")
LINGER_S = "60"
START_S = 120
IDLE_S = "20"
"""Longer than its longest pause: its log has no end event."""

OF_THE_LOG_ITSELF = {"HEARTBEAT", "RUN_ENDED", "TELEMETRY_LOSS"}


class Trained(msgspec.Struct):
    """One training: its epochs and CPU time in s, its own lines, its hub's statistics, our log, our metrics."""

    seconds: float
    cpu_s: float
    raw: list[dict[str, Any]]
    hub: dict[str, dict[str, float]]
    ours: list[dict[str, Any]]
    metrics: str


def main() -> None:
    """Train in turn, compare every run with its own file, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args()
    if "ESPER_LITE_SRC" not in os.environ:
        parser.error("ESPER_LITE_SRC must name the directory of esper-lite's source")
    ways = options.ways.split(",")
    found: dict[str, list[Trained]] = {way: [] for way in ways}
    for turn in range(options.repeats):
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            with tempfile.TemporaryDirectory() as directory:
                trained = train(way, Path(directory), options.rounds)
            found[way].append(trained)
            print(
                f"{turn + 1} {way:<13}{trained.seconds:7.2f} s  {trained.cpu_s:7.2f} s CPU  {account(trained)}",
                flush=True,
            )
    print(f"\n{'':<15}training    CPU time    (medians; ratio to alone in the same turn)")
    for way, runs in found.items():
        pairs = list(zip(runs, found.get("alone", runs), strict=True))
        seconds, cpu = (statistics.median(getattr(run, name) for run in runs) for name in ("seconds", "cpu_s"))
        ratio = statistics.median(run.seconds / base.seconds for run, base in pairs)
        cpu_ratio = statistics.median(run.cpu_s / base.cpu_s for run, base in pairs)
        print(f"{way:<13}{seconds:7.2f} s {ratio:.3f}{cpu:9.2f} s {cpu_ratio:.3f}")


def train(way: str, directory: Path, rounds: int) -> Trained:
    """Train once in a process of its own."""
    theirs, ours = directory / "theirs", directory / "ours"
    theirs.mkdir()
    command = [os.environ.get("ESPER_LITE_PYTHON", sys.executable), str(DRIVER), *arguments(rounds), str(theirs)]
    if way == "instrumentor":
        command = [str(Path(command[0]).parent / "opentelemetry-instrument"), *command]
    started = subprocess.Popen(
        command, env=environment(ours), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with following(theirs) if way == "followed" else nobody() as said:
        assert started.stdout is not None
        with started.stdout as stream:
            output = stream.read()
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        if started.returncode:
            raise SystemExit(output)
        log = ours / "latest"
        metrics = scrape(said or log / "relay" / "relay.log") if way != "alone" else ""
    if way == "instrumentor":
        os.kill(json.loads((log / "run.json").read_text())["relay"]["pid"], signal.SIGTERM)
    raw = lines(next(theirs.glob("*/events.jsonl")))
    hub = next(line for line in output.splitlines() if line.startswith(STATISTICS)).removeprefix(STATISTICS)
    written = lines(log / "events.jsonl") if log.exists() else []
    return Trained(duration_s(raw), usage.ru_utime + usage.ru_stime, raw, json.loads(hub), written, metrics)


def arguments(rounds: int) -> list[str]:
    """Its command line for a run of some 15 s a round."""
    size = ["--rounds", str(rounds), "--envs", "4", "--episode-length", "25", "--memory-size", "64", "--seed", "42"]
    place = ["--device", "cpu", "--devices", "cpu", "--compile-mode", "off", "--num-workers", "0", "--no-tui"]
    return ["ppo", "--preset", "cifar_minimal", "--task", "cifar_minimal", *size, *place, "--telemetry-dir"]


def environment(telemetry_dir: Path) -> dict[str, str]:
    """One thread, no GPU, and this package and esper-lite from their sources."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "ESPER_OTEL_"))}
    paths = [str(ROOT), str(Path(os.environ["ESPER_LITE_SRC"]) / "src"), kept.get("PYTHONPATH", "")]
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "ESPER_OTEL_TELEMETRY_DIR": str(telemetry_dir),
        "ESPER_OTEL_LINGER": LINGER_S,
    }


@contextmanager
def following(directory: Path) -> Iterator[Path]:
    """A relay that follows esper-lite's log from its first line, and the path of its output."""
    deadline = time.monotonic() + START_S
    while not any(path.stat().st_size for path in directory.glob("*/events.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)  # on a busy machine the start takes longer than any pause of the training
    said = directory.parent / "relay.txt"
    command = [
        sys.executable,
        "-m",
        "esper_otel.relay",
        str(directory),
        "--follow",
        "--idle-exit",
        IDLE_S,
        "--linger",
        LINGER_S,
    ]
    with said.open("w") as console, subprocess.Popen(command, stderr=console, env=environment(directory)) as relay:
        try:
            yield said
        finally:
            relay.terminate()


@contextmanager
def nobody() -> Iterator[None]:
    """No relay."""
    yield None


def scrape(said: Path) -> str:
    """Metrics of the relay once it has read everything."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        words = said.read_text().split() if said.exists() else []
        if "stays" in words:
            with urllib.request.urlopen(words[words.index("stays") - 1], timeout=10) as response:
                text: str = response.read().decode()
                return text
        time.sleep(0.1)
    raise SystemExit(f"the relay did not finish: {said.read_text()}")


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, parsed without our code."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def duration_s(raw: list[dict[str, Any]]) -> float:
    """From the first epoch to the last event, s."""
    times = [datetime.fromisoformat(line["timestamp"]) for line in raw if line["event_type"] != "TRAINING_STARTED"]
    return (max(times) - min(times)).total_seconds()


def account(trained: Trained) -> str:
    """Compare our counts with a count of esper-lite's own lines; raises if they differ."""
    dropped = sum(int(one["dropped_events"]) for one in trained.hub.values())
    assert dropped == 0, trained.hub
    if not trained.metrics:
        return f"{len(trained.raw)} events, hub dropped {dropped}"
    counted = totals(trained.metrics)
    assert counted["esper_telemetry_rejected_records_total", ""] == 0
    own = [line for line in trained.ours if line["event_type"] in OF_THE_LOG_ITSELF]
    if trained.ours:
        kept = [line for line in trained.ours if line["event_type"] not in OF_THE_LOG_ITSELF]
        assert [line["event_id"] for line in trained.raw] == [line["event_id"] for line in kept]
        assert list(range(1, len(trained.ours) + 1)) == [line["seq"] for line in trained.ours]
        assert trained.hub["EsperOtelOutput"]["processed_events"] == len(trained.raw)
    read = counted["esper_telemetry_records_total", ""]
    assert read == len(trained.raw) + len(own), (read, len(trained.raw), len(own))
    for metric, number in expected(trained.raw).items():
        assert counted[metric] == number, (metric, number, counted[metric])
    return f"{len(trained.raw)} events = {len(trained.raw)} in ours, relay and hub agree, hub dropped {dropped}"


def expected(raw: list[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Expected counters of the relay, from esper-lite's lines alone."""
    kinds = Counter(line["event_type"] for line in raw)
    operations = Counter(
        line["data"]["action_name"] for line in raw if (line["data"] or {}).get("kind") == "last_action"
    )
    names = {"EPOCH_COMPLETED": "TOLARIA_EPOCH_COMPLETED", "PPO_UPDATE_COMPLETED": "TAMIYO_POLICY_UPDATE"}
    named = ("SEED_STAGE_CHANGED", "SEED_GERMINATED", "SEED_PRUNED", "EPISODE_OUTCOME", "MORPHOLOGY_CAUSAL_LOG")
    events = {("esper_events_total", names.get(kind, kind)): kinds[kind] for kind in (*names, *named)}
    return events | {("tamiyo_decisions_total", op): count for op, count in operations.items()}


def totals(metrics: str) -> Counter[tuple[str, str]]:
    """The counters by name and by event type or operation, summed over all else."""
    found: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            found[sample.name, sample.labels.get("event_type") or sample.labels.get("op") or ""] += int(sample.value)
    return found


if __name__ == "__main__":
    main()
