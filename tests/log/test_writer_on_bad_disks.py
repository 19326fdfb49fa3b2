"""The writer on a disk that is slow, full, read-only, limited or taken away."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from esper_otel.events import PolicyUpdate
from esper_otel.log.locks.lock import LockHeldError, holder
from tests.log.writing import EVENT, SMALL, losses, numbers, put, quiet, read, types, until
from tests.waiting import own_time_s


class Slow:
    """A disk whose every write takes as long as told, on the real file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, delay_s: float) -> None:
        self.delay_s = delay_s
        self._write = os.write
        monkeypatch.setattr("esper_otel.log.writing.append.os.write", self.write)

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
        started = own_time_s()
        put(writer, *[EVENT] * 10)
        waits.append(own_time_s() - started)
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
    assert "7 events in it are lost" in capfd.readouterr().err


def test_a_run_that_is_renamed_before_its_first_event_is_recorded_under_its_new_name(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    writer = quiet(old)
    until(lambda: holder(old / ".writer.rank0.lock") == os.getpid())
    old.rename(new)
    put(writer, EVENT)
    until(lambda: writer.written_events == 1)
    assert holder(new / ".writer.rank0.lock") == os.getpid()
    writer.close()

    assert ["TAMIYO_DECISION"] == types(new)
    assert not old.exists()


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
while w._disk.failure is None:
    time.sleep(0.01)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while w.written_events < 200:
    time.sleep(0.01)
w.close()
print(w.written_events)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "r"], capture_output=True, text=True, check=True)

    assert "200\n" == done.stdout
    assert list(range(1, 201)) == numbers(tmp_path / "r")
    assert 1 == done.stderr.count("ulimit -f")
