"""The writer: what is on disk, when, and what it says about what is not."""

from __future__ import annotations

import gc
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esper_otel.events import Decision, Event, PolicyUpdate, RunEnded, TelemetryLoss
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.lock import LockHeldError, holder
from esper_otel.log.reader import LogReader
from esper_otel.log.writer import Writer

EVENT = Decision(env_id=0, total_reward=0.5, slot_id="r0c0")
SMALL = 4096


def put(writer: Writer, *events: Any) -> None:
    for event in events:
        writer.put((event, time.time_ns(), "default", None, None))


def read(run: Path) -> list[Record | BadLine]:
    with LogReader(run) as reader:
        return reader.read(1_000_000)


def types(run: Path) -> list[str]:
    return [item.event_type if isinstance(item, Record) else item.reason.value for item in read(run)]


def numbers(run: Path) -> list[int | None]:
    return [item.seq if isinstance(item, Record) else None for item in read(run)]


def losses(run: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(r.data) for r in read(run) if isinstance(r, Record) and r.event_type == "TELEMETRY_LOSS"]


def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def quiet(run: Path, **options: Any) -> Writer:
    return Writer(run, "r", heartbeat_s=0, **options)


def test_events_are_numbered_from_one_in_their_order(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, *[PolicyUpdate(ppo_update_idx=number) for number in range(500)])
    writer.close(RunEnded(outcome="finished"))

    assert [*["TAMIYO_POLICY_UPDATE"] * 500, "RUN_ENDED"] == types(tmp_path / "r")
    assert list(range(1, 502)) == numbers(tmp_path / "r")
    assert 501 == writer.written_events == writer.emitted_events


def test_an_event_is_on_disk_within_50_ms(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    until(lambda: (tmp_path / "r" / "events.jsonl").exists() or put(writer, EVENT) is not None)
    delays = []
    for _ in range(20):
        before = writer.written_events
        started = time.monotonic()
        put(writer, EVENT)
        until(lambda before=before: writer.written_events > before)
        delays.append(time.monotonic() - started)
    writer.close()

    assert sorted(delays)[10] < 0.05


def test_closing_takes_well_under_a_second(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, *[EVENT] * 20_000)
    started = time.monotonic()
    writer.close()

    assert time.monotonic() - started < 1.0
    assert 20_000 == len(read(tmp_path / "r"))


def test_segments_are_closed_by_size_and_lose_nothing(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r", segment_bytes=SMALL)
    for _ in range(50):
        put(writer, *[EVENT] * 5)
        time.sleep(0.003)
    writer.close()

    segments = sorted((tmp_path / "r").glob("events.0*.jsonl"))
    assert len(segments) > 3
    assert list(range(1, 251)) == numbers(tmp_path / "r")


def test_a_follower_reads_each_event_once_while_segments_are_rotated_and_compressed(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r", segment_bytes=SMALL, compress=True)
    found: list[Record | BadLine] = []
    with LogReader(tmp_path / "r", follow=True) as reader:
        for _ in range(60):
            put(writer, *[EVENT] * 5)
            time.sleep(0.004)
            found += reader.read(100)
        writer.close()
        reader.finish()
        while batch := reader.read(100):
            found += batch
    until(lambda: not list((tmp_path / "r").glob("events.0*.jsonl")))

    assert list(range(1, 301)) == [item.seq if isinstance(item, Record) else item for item in found]
    assert list(range(1, 301)) == numbers(tmp_path / "r")


def test_a_run_that_goes_on_counts_on_and_ends_a_torn_line(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, EVENT, EVENT)
    writer.close()
    log = tmp_path / "r" / "events.jsonl"
    os.truncate(log, log.stat().st_size - 20)
    again = quiet(tmp_path / "r")
    put(again, EVENT)
    again.close()

    *before, after = numbers(tmp_path / "r")
    assert [1, None] == before
    assert after is not None
    assert after > 2


def test_numbering_goes_on_behind_compressed_segments(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, *[EVENT] * 3)
    writer.close()
    from esper_otel.log.compress import compress

    (tmp_path / "r" / "events.jsonl").rename(tmp_path / "r" / "events.000001.jsonl")
    compress(tmp_path / "r" / "events.000001.jsonl")
    again = quiet(tmp_path / "r")
    put(again, EVENT)
    again.close()

    *before, after = numbers(tmp_path / "r")
    assert [1, 2, 3] == before
    assert after is not None
    assert after > 3


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    with pytest.raises(LockHeldError, match="already writes the log"):
        quiet(tmp_path / "r")
    code = (
        "import sys; from pathlib import Path; from esper_otel.log.writer import Writer; Writer(Path(sys.argv[1]), 'r')"
    )
    other = subprocess.run([sys.executable, "-c", code, tmp_path / "r"], capture_output=True, text=True, check=False)
    writer.close()

    assert f"process {os.getpid()} already writes" in other.stderr
    quiet(tmp_path / "r").close()


def test_ranks_of_one_run_write_beside_each_other(tmp_path: Path) -> None:
    first, second = (Writer(tmp_path / "r", "r", rank, heartbeat_s=0) for rank in (0, 1))
    put(first, EVENT)
    put(second, EVENT)
    first.close()
    second.close()

    assert {"r-0-1", "r-1-1"} == {item.event_id for item in read(tmp_path / "r") if isinstance(item, Record)}


def test_the_holder_of_a_log_is_known_while_it_lives(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from esper_otel.log.writer import Writer\n"
        "w = Writer(Path(sys.argv[1]), 'r'); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "r"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        lock = tmp_path / "r" / ".writer.rank0.lock"
        assert process.pid == holder(lock)
        process.kill()
        process.wait()
        assert holder(lock) is None


def test_a_heartbeat_tells_that_the_log_lives(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "r", "r", heartbeat_s=0.05)
    until(lambda: writer.written_events >= 2)
    writer.close()

    assert {"HEARTBEAT"} == set(types(tmp_path / "r"))


def test_what_is_no_event_is_counted_and_costs_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, EVENT, "text", None, EVENT)
    writer.close()

    assert [*["TAMIYO_DECISION"] * 2, "TELEMETRY_LOSS"] == types(tmp_path / "r")
    assert [("unencodable", 2)] == [(loss["reason"], loss["count"]) for loss in losses(tmp_path / "r")]
    assert "str is not an event" in capfd.readouterr().err


def test_a_field_without_a_json_form_is_reported_by_name_and_said_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, *[PolicyUpdate(policy_loss=object(), value_loss=math.nan)] * 10)  # type: ignore[arg-type]  # wrong on purpose
    writer.close()

    assert 10 == types(tmp_path / "r").count("TAMIYO_POLICY_UPDATE")
    assert [10] == [loss["count"] for loss in losses(tmp_path / "r")]
    assert "TAMIYO_POLICY_UPDATE.policy_loss" in losses(tmp_path / "r")[0]["detail"]
    assert 1 == capfd.readouterr().err.count("policy_loss")


class Slow:
    """A disk whose every write takes as long as told, on the real file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, delay_s: float) -> None:
        self.delay_s = delay_s
        self._write = os.write
        monkeypatch.setattr("esper_otel.log.append.os.write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        time.sleep(self.delay_s)
        return self._write(fd, data)


def test_a_slow_disk_neither_holds_up_training_nor_fills_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Slow(monkeypatch, 0.1)
    writer = quiet(tmp_path / "r")
    waits = []
    deepest = 0
    for _ in range(300):
        started = time.perf_counter()
        put(writer, *[EVENT] * 10)
        waits.append(time.perf_counter() - started)
        deepest = max(deepest, len(writer._queue))
        time.sleep(0.001)
    writer.close()

    assert sorted(waits)[-3] < 0.05  # a busy machine may have held up one or two
    assert deepest < 1500
    assert 3000 == len(read(tmp_path / "r"))


def test_a_full_buffer_refuses_counts_and_reports_before_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, 0.5)
    writer = quiet(tmp_path / "r", buffer_bytes=SMALL)
    put(writer, *[EVENT] * 10)
    time.sleep(0.1)
    put(writer, *[EVENT] * 5000)
    slow.delay_s = 0.0
    until(lambda: writer.written_events >= writer.emitted_events - writer.losses.totals["buffer_full"])
    time.sleep(0.3)
    put(writer, PolicyUpdate())
    writer.close()

    lost = losses(tmp_path / "r")
    assert {"buffer_full"} == {loss["reason"] for loss in lost}
    assert 5010 == types(tmp_path / "r").count("TAMIYO_DECISION") + sum(loss["count"] for loss in lost)
    assert ["TAMIYO_POLICY_UPDATE"] == types(tmp_path / "r")[-1:]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    yield disk
    gc.collect()
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_loses_only_what_does_not_fit_the_buffer_and_tears_no_line(
    small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40_000)
    writer = quiet(small_disk / "r", buffer_bytes=3 * SMALL)
    for _ in range(40):
        put(writer, *[EVENT] * 50)
        time.sleep(0.025)
    full = os.statvfs(small_disk).f_bavail
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    until(lambda: writer._disk.failure is None and not writer._queue)
    time.sleep(0.3)
    put(writer, PolicyUpdate())
    writer.close()

    lost = losses(small_disk / "r")
    assert 0 == full
    assert {"write_failed"} == {loss["reason"] for loss in lost}
    assert 2000 == types(small_disk / "r").count("TAMIYO_DECISION") + sum(loss["count"] for loss in lost)
    assert None not in numbers(small_disk / "r")
    assert "TAMIYO_POLICY_UPDATE" == types(small_disk / "r")[-1]
    assert 1 == capfd.readouterr().err.count("the disk is full; free some space")


def test_what_a_full_disk_leaves_at_the_end_is_counted_and_said(
    small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = quiet(small_disk / "r")
    put(writer, *[EVENT] * 1000)
    writer.close(timeout_s=0.5)

    kept = types(small_disk / "r").count("TAMIYO_DECISION")
    assert 0 < writer.losses.totals["write_failed"] <= 1000 - writer.written_events
    assert kept >= writer.written_events
    assert "events are not in the log: the disk is full" in capfd.readouterr().err


def test_a_read_only_disk_is_said_once_and_recording_begins_when_it_is_over(
    small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    writer = quiet(small_disk / "r")
    put(writer, EVENT)
    until(lambda: writer._disk.failure is not None)
    time.sleep(0.6)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    until(lambda: writer.written_events == 1)
    with pytest.raises(LockHeldError):
        quiet(small_disk / "r")
    writer.close()

    assert ["TAMIYO_DECISION"] == types(small_disk / "r")
    assert 1 == capfd.readouterr().err.count("read-only")


def test_a_removed_directory_is_made_again_and_the_loss_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, *[EVENT] * 7)
    until(lambda: writer.written_events == 7)
    shutil.rmtree(tmp_path / "r")
    put(writer, PolicyUpdate(ppo_update_idx=1))
    until((tmp_path / "r" / "events.jsonl").exists)
    put(writer, PolicyUpdate(ppo_update_idx=2))
    writer.close()

    found = types(tmp_path / "r")
    assert 2 == found.count("TAMIYO_POLICY_UPDATE")
    assert [("write_failed", 7)] == [(loss["reason"], loss["count"]) for loss in losses(tmp_path / "r")]
    assert "7 events that were in it are gone" in capfd.readouterr().err


def test_a_file_size_limit_is_treated_like_a_full_disk(tmp_path: Path) -> None:
    code = """
import resource, signal, sys, time
from pathlib import Path
from esper_otel.events import Decision
from esper_otel.log.writer import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
w = Writer(Path(sys.argv[1]), "r", heartbeat_s=0)
for n in range(200):
    w.put((Decision(env_id=n), time.time_ns(), "default", None, None))
time.sleep(0.2)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
time.sleep(0.5)
w.close()
print(w.written_events)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "r"], capture_output=True, text=True, check=True)

    assert "200\n" == done.stdout
    assert list(range(1, 201)) == numbers(tmp_path / "r")
    assert 1 == done.stderr.count("ulimit -f")


def test_events_may_come_from_many_threads(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    threads = [threading.Thread(target=put, args=(writer, *[EVENT] * 500)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    assert list(range(1, 4001)) == numbers(tmp_path / "r")


class Pairs:
    """Writes each event under two names, and holds one back for the end."""

    def lines(self, event: Event) -> list[tuple[str, Any]]:
        return [(event.event_type, event), ("OLD", {"old": 1})]

    def flush(self) -> list[tuple[str, Any, Event]]:
        return [("OLD_HELD", {"old": 2}, EVENT)]


def test_old_and_new_line_of_an_event_share_id_and_number(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r", legacy=Pairs(), legacy_repeats=True)
    put(writer, EVENT, PolicyUpdate())
    writer.close()

    found = [(item.event_type, item.seq, item.event_id) for item in read(tmp_path / "r") if isinstance(item, Record)]
    assert [
        ("TAMIYO_DECISION", 1, "r-0-1"),
        ("OLD", 1, "r-0-1"),
        ("TAMIYO_POLICY_UPDATE", 2, "r-0-2"),
        ("OLD", 2, "r-0-2"),
        ("OLD_HELD", 2, "r-0-2"),
    ] == found


def test_losses_name_events_of_the_contract() -> None:
    assert "TELEMETRY_LOSS" == TelemetryLoss.event_type
