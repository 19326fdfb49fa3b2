"""The writer: what is on disk, when, and what it says about what is not."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from esper_otel.events import Event, PolicyUpdate, RunEnded, TelemetryLoss
from esper_otel.log.compression.compress import compress
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.locks.lock import LockHeldError, holder
from esper_otel.log.reader import LogReader
from esper_otel.log.writer import Writer
from tests.log.writing import EVENT, SMALL, closed_segments, losses, numbers, put, quiet, read, types, until
from tests.waiting import PATIENCE_S, own_time_s


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
        started = own_time_s()
        put(writer, EVENT)
        until(lambda before=before: writer.written_events > before)
        delays.append(own_time_s() - started)
    writer.close()

    assert sorted(delays)[10] < 0.05


def test_closing_writes_the_whole_queue(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, *[EVENT] * 20_000)
    writer.close(timeout_s=PATIENCE_S)

    assert 20_000 == len(read(tmp_path / "r"))


def test_a_busy_machine_does_not_cost_the_last_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause lasts 50 ms here, as the shortest does on a machine whose cores are taken."""
    slept = time.sleep
    monkeypatch.setattr("esper_otel.log.writer.time.sleep", lambda seconds: slept(max(seconds, 0.05)))
    writer = quiet(tmp_path / "r")
    put(writer, *[EVENT] * 20_000)
    writer.close(RunEnded(outcome="finished"))

    assert 20_001 == len(read(tmp_path / "r"))


def test_a_log_closed_too_early_says_what_it_lacks_and_how_the_run_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def clock() -> tuple[int, int, int, int]:
        """The encoder asks for the time before each slice."""
        time.sleep(0.05)
        return 0, 0, 0, 0

    writer = quiet(tmp_path / "r", clock=clock)
    put(writer, *[EVENT] * 50_000)
    writer.close(RunEnded(outcome="finished"), timeout_s=0.2)

    kinds = types(tmp_path / "r")
    [loss] = losses(tmp_path / "r")
    assert ["TELEMETRY_LOSS", "RUN_ENDED"] == kinds[-2:]
    assert 50_000 == loss["count"] + kinds.count("TAMIYO_DECISION")
    assert loss["count"] > 0
    assert f"{loss['count']} events are not in the log: the run ended before" in capfd.readouterr().err


def test_segments_are_closed_by_size_and_lose_nothing(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r", segment_bytes=SMALL)
    put_events = 0
    while len(closed_segments(tmp_path / "r")) < 4:
        put(writer, *[EVENT] * 5)
        put_events += 5
        time.sleep(0.003)
    writer.close()

    assert list(range(1, put_events + 1)) == numbers(tmp_path / "r")


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
