"""The encoder's thread sleeps while no events come, and the next one wakes it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from esper_otel.log.writer import Writer
from esper_otel.log.writing.losses import LossReason
from tests.log.native_queue import built
from tests.log.writing import EVENT, losses, put, quiet, types, until

ROADS = [pytest.param(True, marks=built, id="in C"), pytest.param(False, id="in Python")]


@pytest.fixture(params=ROADS)
def writer(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    if not request.param:
        monkeypatch.setattr("esper_otel.log.writing.queue.core", lambda: None)
    made = quiet(tmp_path / "r")
    yield made
    made.close()


def wakes(of: Writer) -> int:
    """Times that the encoder's thread went to sleep by itself so far."""
    status = Path(f"/proc/{os.getpid()}/task/{of._thread.native_id}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def asleep(of: Writer) -> None:
    until(lambda: of._queue.is_idle)


def test_it_wakes_a_few_times_a_second_while_nothing_comes(writer: Writer) -> None:
    put(writer, EVENT)
    asleep(writer)
    before = wakes(writer)
    time.sleep(3)

    assert wakes(writer) - before < 30  # awake, it would look 150 times


def test_an_event_that_finds_it_asleep_is_written_at_once(writer: Writer, tmp_path: Path) -> None:
    for number in range(1, 6):
        asleep(writer)
        began = time.monotonic()
        put(writer, EVENT)
        until(lambda number=number: writer.written_events == number)  # type: ignore[misc]
        assert time.monotonic() - began < 0.9  # it would sleep for a second

    assert ["TAMIYO_DECISION"] * 5 == types(tmp_path / "r")


def test_losses_that_were_counted_while_it_sleeps_are_reported_before_long(writer: Writer, tmp_path: Path) -> None:
    asleep(writer)
    writer.losses.add(LossReason.CHILD_PROCESS, 3, "in a child")

    until(lambda: writer.written_events == 1)
    assert [3] == [loss["count"] for loss in losses(tmp_path / "r")]


def test_closing_wakes_it(writer: Writer) -> None:
    asleep(writer)
    began = time.monotonic()
    writer.close()

    assert time.monotonic() - began < 0.9
    assert not writer._thread.is_alive() or writer._is_quiet.is_set()


def test_heartbeats_come_in_time_while_it_sleeps(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "r", "r", heartbeat_s=0.3)
    until(lambda: writer.written_events >= 4)
    writer.close()

    assert {"HEARTBEAT"} == set(types(tmp_path / "r"))


def test_threads_whose_events_find_it_asleep_lose_none(writer: Writer, tmp_path: Path) -> None:
    def work() -> None:
        for _ in range(5):
            asleep(writer)
            put(writer, EVENT)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    assert ["TAMIYO_DECISION"] * 20 == types(tmp_path / "r")
