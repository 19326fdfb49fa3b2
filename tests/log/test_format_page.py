"""The page of the log format: real logs are read by its rules alone, and its examples are what the writer writes."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

import esper_otel
from esper_otel.events import PolicyUpdate, SeedStageChanged
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from tests.tools import ROOT, python_environment

PAGE = (ROOT / "docs" / "reference" / "log-format.md").read_text(encoding="utf-8")
NAME = re.compile(re.search(r"```regex\n(.*?)\n```", PAGE, re.DOTALL)[1].replace("(?<", "(?P<"))
EXAMPLES = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]
FIELDS = re.findall(r"^\| \d+ \| `(\w+)` \| (\S+) \| (always|where)", PAGE, re.MULTILINE)
TYPES = {"string": str, "integer": int, "object": dict, "`true`": bool}
NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
AT_NS = 1_790_000_000_123_456_000

Line = dict[str, Any]


def segments(run: Path) -> dict[int, list[Path]]:
    """Files of each rank in the order in which they are read."""
    found: dict[int, dict[float, Path]] = {}
    for path in sorted(
        run.iterdir(), key=lambda path: len(path.name), reverse=True
    ):  # the plain file comes last, and stays
        if match := NAME.fullmatch(path.name):
            number = float(match["segment"] or math.inf)
            found.setdefault(int(match["rank"] or 0), {})[number] = path
    return {rank: [by_number[number] for number in sorted(by_number)] for rank, by_number in found.items()}


def content(path: Path) -> bytes:
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def events_of(run: Path) -> tuple[dict[int, list[Line]], list[bytes]]:
    """Events of each rank, and the lines that hold none: the reader that the page describes."""
    events: dict[int, list[Line]] = {}
    bad: list[bytes] = []
    for rank, paths in segments(run).items():
        last = 0
        for path in paths:
            *whole, rest = content(path).split(b"\n")
            for raw in [*whole, *([rest] if rest else [])]:
                try:
                    line = json.loads(raw)
                except ValueError:
                    bad.append(raw)
                    continue
                if line["seq"] > last:
                    events.setdefault(rank, []).append(line)
                    last = line["seq"]
    return events, bad


def by_library(run: Path) -> dict[int, list[tuple[int | None, str, int, bytes]]]:
    found: dict[int, list[tuple[int | None, str, int, bytes]]] = {}
    with LogReader(run, follow=False) as reader:
        while batch := reader.read(1000):
            for item in batch:
                if isinstance(item, Record):
                    found.setdefault(item.rank, []).append((item.seq, item.event_type, item.timestamp_ns, item.data))
    return found


def as_read_by_library(line: Line) -> tuple[int, str, int, bytes]:
    moment = datetime.fromisoformat(line["timestamp"])
    since = moment - datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return line["seq"], line["event_type"], since // timedelta(microseconds=1) * 1000, json_of(line["data"])


def json_of(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture
def telemetry(tmp_path: Path) -> Path:
    return tmp_path / "telemetry"


def write_examples(telemetry: Path) -> None:
    esper_otel.configure(telemetry_dir=telemetry, run_id="example", relay=False, heartbeat_s=0)
    update = PolicyUpdate(ppo_update_idx=1, batch=1, episodes_completed=4, pre_clip_grad_norm=3.25, grad_norm=1.0)
    esper_otel.emit(update, timestamp_ns=AT_NS)
    spoiled = PolicyUpdate(
        ppo_update_idx=2, batch=1, pre_clip_grad_norm=math.inf, head_entropy={"op": 0.5, "slot": math.nan}
    )
    esper_otel.emit(spoiled, timestamp_ns=AT_NS + 1_000_000, group_id="B", message="diverged")
    changed = SeedStageChanged(seed_id="seed-1", slot_id="r0c1", from_stage="GERMINATED", to_stage="TRAINING")
    esper_otel.emit(changed, timestamp_ns=AT_NS + 2_000_000)
    esper_otel.shutdown()


def test_the_examples_of_the_page_are_what_the_writer_writes(telemetry: Path) -> None:
    write_examples(telemetry)
    written = (telemetry / "example" / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    assert EXAMPLES == "".join(written[:3])


WRITER = """
import sys, time, math
from pathlib import Path
import esper_otel
from esper_otel.events import PolicyUpdate
rank, telemetry = int(sys.argv[1]), sys.argv[2]
settings = {"telemetry_dir": telemetry, "rank": rank, "segment_bytes": 20_000, "heartbeat_s": 0, "compress": rank == 1}
esper_otel.configure(run_id="run", world_size=2, relay=False, **settings)
run_dir, number = Path(telemetry, "run"), 0
# Until the segments are there that the tests are about: closed ones of rank 0, a compressed one of rank 1.
while number < 400 or len(list(run_dir.glob("*.zst" if rank else "events.0*.jsonl"))) < 2:
    odd = [1e-7, 1e22, math.nan, -math.inf, 2**70, -0.0][number % 6]
    message = "a\\nb\\u2028é" if number % 7 == 0 else None
    esper_otel.emit(PolicyUpdate(ppo_update_idx=number, approx_kl_max=odd), message=message)
    number += 1
    if number % 50 == 0:
        time.sleep(0.06)
if rank == 0:
    print(number, flush=True)
    time.sleep(600)
esper_otel.shutdown()
"""


@pytest.fixture
def damaged_run(telemetry: Path) -> Path:
    """Two ranks with several segments each; rank 0 was killed, its log torn and continued."""
    command = [sys.executable, "-c", WRITER]
    environment = python_environment()
    subprocess.run([*command, "1", str(telemetry)], env=environment, check=True)
    with subprocess.Popen([*command, "0", str(telemetry)], env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        emitted = int(child.stdout.readline())
        run = telemetry / "run"
        while sum(content(path).count(b"\n") for path in segments(run)[0]) < emitted:
            assert child.poll() is None
        os.kill(child.pid, signal.SIGKILL)
    active = run / "events.jsonl"
    with active.open("ab") as file:
        file.write(b'{"event_id":"run-0-9')
    esper_otel.configure(telemetry_dir=telemetry, run_id="run", rank=0, world_size=2, relay=False)
    esper_otel.emit(PolicyUpdate(ppo_update_idx=7))
    esper_otel.shutdown()
    return run


def test_a_reader_that_follows_the_page_finds_what_the_library_finds(damaged_run: Path) -> None:
    events, bad = events_of(damaged_run)
    library = by_library(damaged_run)
    assert {rank: [as_read_by_library(line)[:3] for line in lines] for rank, lines in events.items()} == {
        rank: [item[:3] for item in items] for rank, items in library.items()
    }
    assert [json.loads(data) for *_, data in library[1]] == [line["data"] for line in events[1]]
    assert bad == [b'{"event_id":"run-0-9']
    assert len(segments(damaged_run)[0]) > 2
    assert ".zst" in {path.suffix for path in segments(damaged_run)[1]}


def test_every_field_has_its_place_and_type(damaged_run: Path) -> None:
    order = [name for name, _, _ in FIELDS]
    for line in [line for lines in events_of(damaged_run)[0].values() for line in lines]:
        assert list(line) == [name for name in order if name in line]
        assert {name for name, _, present in FIELDS if present == "always"} <= set(line)
        assert all(type(line[name]) is TYPES[kind] for name, kind, _ in FIELDS if name in line)
        assert line["event_id"] == f"{line['run_id']}-{line['rank']}-{line['seq']}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", line["timestamp"])


def test_a_line_says_where_a_number_is_not_finite(damaged_run: Path) -> None:
    updates = [line for line in events_of(damaged_run)[0][1] if "approx_kl_max" in line["data"]]
    assert len(updates) == 400
    for number, line in enumerate(updates):
        expected = [1e-7, 1e22, math.nan, -math.inf, 2**70, -0.0][number % 6]
        value = line["data"]["approx_kl_max"]
        assert repr(NONFINITE.get(value, value) if isinstance(value, str) else value) == repr(expected)
        assert ("nonfinite" in line) == (not math.isfinite(expected))


def test_a_run_that_is_continued_counts_from_its_time(damaged_run: Path) -> None:
    numbers = [line["seq"] for line in events_of(damaged_run)[0][0]]
    assert numbers[:400] == list(range(1, 401))
    assert numbers == sorted(numbers)
    assert numbers[-1] > 10**15


def test_the_page_names_every_file_of_a_run(damaged_run: Path) -> None:
    named = set(re.findall(r"`(?:RUN/)?([\w.]+)(?:/)?`", PAGE))
    unnamed = {
        path.name
        for path in [*damaged_run.iterdir(), *damaged_run.parent.iterdir()]
        if not NAME.fullmatch(path.name) and path.name != "run"
    }
    assert {re.sub(r"rank\d+", "rank0", name) for name in unnamed} <= named


def test_the_page_names_every_field_of_the_manifest(damaged_run: Path) -> None:
    section = PAGE.split("## run.json")[1].split("\n## ")[0]
    assert set(json.loads((damaged_run / "run.json").read_text())) <= set(re.findall(r"`(\w+)`", section))


def test_the_page_names_every_field_of_the_note_in_a_lock(damaged_run: Path) -> None:
    section = PAGE.split("## Locks")[1].split("\n## ")[0]
    for path in damaged_run.glob(".writer.rank*.lock"):
        assert (len(path.read_bytes()), path.read_bytes()[-1:]) == (256, b"\n")
        assert set(json.loads(path.read_bytes())) <= set(re.findall(r"`(\w+)`", section))
