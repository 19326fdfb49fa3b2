"""The lines that one pipeline passes to the other: each exactly once, whoever is ahead, and none decoded twice."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from esper_otel.events import Heartbeat
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.reader import LogReader
from esper_otel.relay import handover as module
from esper_otel.relay.handover import Handover, LineFeed
from esper_otel.relay.ingest import Ingest, Ingested
from tests.waiting import PATIENCE_S, own_time_s


class Ahead:
    """The metrics pipeline's part."""

    def __init__(self, path: Path, *, waits: bool = False) -> None:
        self.reader = LogReader(path, follow=True)
        self.ingest = Ingest()
        self.handover = Handover({}, waits=waits)

    def step(self, limit: int) -> int:
        lines = [self.ingest.take(item) for item in self.reader.read(limit)]
        if lines:
            self.handover.put(self.reader.positions, self.ingest.state, lines, self.reader.taken_bytes)
        return len(lines)

    def go_on(self, limit: int) -> None:
        """Take steps until there is nothing new."""
        while self.step(limit):
            pass


class Writer:
    """A log that grows."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self._log = path / "events.jsonl"
        self._log.touch()  # so that a reader need not look for it again
        self._encoder = LineEncoder("run", 0)
        self.written = 0

    def write(self, lines: int) -> None:
        with self._log.open("ab") as log:
            for _ in range(lines):
                self.written += 1
                log.write(self._encoder.encode(Heartbeat(uptime_s=1.0), Envelope(1, "g", None, None, self.written))[0])


def pipelines(run: Path, *, waits: bool = False) -> tuple[Writer, Ahead, LineFeed]:
    """A new log with the pipeline that is ahead, and the delivery's feed, which begins where that one does."""
    writer, ahead = Writer(run), Ahead(run, waits=waits)
    return writer, ahead, LineFeed(run, follow=True, stored=None, handover=ahead.handover)


def numbers(lines: list[Ingested]) -> list[int | None]:
    return [line.record.seq if line.record else None for line in lines]


def rest_of(feed: LineFeed) -> list[int | None]:
    feed.finish()
    found: list[int | None] = []
    while lines := feed.read(50):
        found += numbers(lines)
    feed.close()
    return found


@pytest.mark.parametrize("seed", range(20))
def test_every_line_comes_once_and_in_order_however_the_two_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(module, "MAX_LINES", 30)
    chance = random.Random(seed)
    writer, ahead, feed = pipelines(tmp_path / "run")
    found: list[int | None] = []
    for _ in range(60):
        writer.write(chance.randrange(12))
        for _ in range(chance.randrange(3)):
            ahead.step(chance.randrange(1, 10))
        if chance.random() < 0.5:
            found += numbers(feed.read(chance.randrange(1, 15)))
        if chance.random() < 0.1:  # a relay that starts again
            state = feed.state
            feed.close()
            feed = LineFeed(tmp_path / "run", follow=True, stored=state, handover=ahead.handover)
    found += rest_of(feed)
    ahead.reader.close()

    assert list(range(1, writer.written + 1)) == found


def test_lines_that_were_handed_over_are_not_read_again(tmp_path: Path) -> None:
    writer, ahead, feed = pipelines(tmp_path / "run")
    writer.write(40)
    ahead.step(30)
    (tmp_path / "run" / "events.jsonl").rename(tmp_path / "run" / "gone")

    assert list(range(1, 31)) == numbers(feed.read(100))
    assert [] == feed.read(100)
    feed.close()
    ahead.reader.close()


def test_one_that_fell_behind_reads_the_log_itself_and_is_handed_lines_again_once_it_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINES", 10)
    writer, ahead, feed = pipelines(tmp_path / "run")
    writer.write(40)
    ahead.go_on(5)
    assert list(range(1, 21)) == numbers(feed.read(20))

    assert list(range(21, 41)) == numbers(feed.read(20))
    writer.write(5)
    ahead.step(5)
    (tmp_path / "run" / "events.jsonl").rename(tmp_path / "run" / "gone")

    assert list(range(41, 46)) == numbers(feed.read(20))
    feed.close()
    ahead.reader.close()


def test_the_bytes_behind_the_position_are_known_whoever_reads(tmp_path: Path) -> None:
    writer, ahead, feed = pipelines(tmp_path / "run")
    writer.write(10)
    size = (tmp_path / "run" / "events.jsonl").stat().st_size
    ahead.step(10)

    assert size == feed.unread_bytes()
    feed.read(10)
    assert 0 == feed.unread_bytes()
    feed.close()
    ahead.reader.close()


def test_a_replay_lets_a_delivery_that_works_catch_up_so_that_no_line_is_decoded_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINES", 20)
    writer, ahead, feed = pipelines(tmp_path / "run", waits=True)
    writer.write(200)
    monkeypatch.setattr(feed, "_read_here", lambda: pytest.fail("it read the log itself"))
    found: list[int | None] = []

    def deliver() -> None:
        while len(found) < 200:
            found.extend(numbers(feed.read(5)))
            time.sleep(0.002)

    delivery = threading.Thread(target=deliver)
    delivery.start()
    ahead.go_on(10)
    delivery.join()

    assert list(range(1, 201)) == found
    ahead.reader.close()


def test_a_delivery_that_waits_for_its_endpoint_holds_up_a_replay_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINES", 20)
    writer, ahead, feed = pipelines(tmp_path / "run", waits=True)
    writer.write(500)
    feed.read(10)
    began = own_time_s()
    ahead.go_on(10)

    assert own_time_s() - began < 2 * module.PACE_S  # once, not for each of the 50 batches
    assert list(range(1, 501)) == rest_of(feed)
    ahead.reader.close()


def waiting(feed: LineFeed, stop: threading.Event) -> threading.Thread:
    """A delivery that waits for a minute unless something ends it."""
    thread = threading.Thread(target=feed.wait, args=(stop, 60.0), daemon=True)
    thread.start()
    return thread


def test_a_replay_wakes_the_delivery_as_soon_as_there_are_lines(tmp_path: Path) -> None:
    writer, ahead, feed = pipelines(tmp_path / "run", waits=True)
    writer.write(10)
    delivery = waiting(feed, threading.Event())
    ahead.go_on(10)
    delivery.join(PATIENCE_S)

    assert not delivery.is_alive()
    assert list(range(1, 11)) == numbers(feed.read(10))
    feed.close()
    ahead.reader.close()


def test_a_delivery_that_follows_is_woken_when_it_must_stop_and_not_by_lines(tmp_path: Path) -> None:
    writer, ahead, feed = pipelines(tmp_path / "run")
    stop = threading.Event()
    delivery = waiting(feed, stop)
    for _ in range(5):
        writer.write(1)
        ahead.go_on(10)
    delivery.join(0.2)
    slept_on = delivery.is_alive()
    stop.set()
    delivery.join(PATIENCE_S)

    assert slept_on
    assert not delivery.is_alive()
    feed.close()
    ahead.reader.close()


@pytest.mark.parametrize("seed", range(10))
def test_two_readers_get_every_line_once_however_they_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(module, "MAX_LINES", 40)
    chance = random.Random(seed)
    writer, ahead, first = pipelines(tmp_path / "run")
    feeds = [first, LineFeed(tmp_path / "run", follow=True, stored=None, handover=ahead.handover)]
    found: list[list[int | None]] = [[], []]
    for _ in range(60):
        writer.write(chance.randrange(12))
        ahead.step(chance.randrange(1, 15))
        for feed, lines in zip(feeds, found, strict=True):
            if chance.random() < 0.5:
                lines += numbers(feed.read(chance.randrange(1, 15)))
    for feed, lines in zip(feeds, found, strict=True):
        lines += rest_of(feed)
    ahead.reader.close()

    assert [list(range(1, writer.written + 1))] * 2 == found


def test_neither_of_two_readers_that_keep_up_reads_the_log_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, ahead, first = pipelines(tmp_path / "run")
    feeds = [first, LineFeed(tmp_path / "run", follow=True, stored=None, handover=ahead.handover)]
    writer.write(40)
    ahead.go_on(10)
    for feed in feeds:
        monkeypatch.setattr(feed, "_read_here", lambda: pytest.fail("it read the log itself"))

    assert [list(range(1, 41))] * 2 == [numbers(feed.read(100)) for feed in feeds]
    assert 0 == ahead.handover._held
    for feed in feeds:
        feed.close()
    ahead.reader.close()


@pytest.mark.parametrize("other", ["stuck", "idle", "left"])
def test_a_replay_goes_on_although_one_of_its_readers_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Stuck in a call; or at the end of the log, which it read itself, asking for more; or gone."""
    monkeypatch.setattr(module, "MAX_LINES", 20)
    writer, ahead, working = pipelines(tmp_path / "run", waits=True)
    still = LineFeed(tmp_path / "run", follow=True, stored=None, handover=ahead.handover)
    writer.write(400)
    found, over = [], threading.Event()
    threads = [threading.Thread(target=read_into, args=(working, found, over, 400))]
    if other == "idle":
        ahead.handover.waits = False
        for _ in range(4):  # more than is kept, and not where the other one stops
            ahead.step(9)
        ahead.handover.waits = True
        read_into(still, [], over, 400)
        threads.append(threading.Thread(target=read_into, args=(still, [], over, 1)))
    if other == "left":
        still.close()
    for thread in threads:
        thread.start()
    began = time.monotonic()
    ahead.go_on(10)
    took_s = time.monotonic() - began
    threads[0].join(PATIENCE_S)
    over.set()
    threads[-1].join(PATIENCE_S)
    working.close()
    still.close()

    assert list(range(1, 401)) == found
    assert took_s < 15  # without its own bound a single put would wait for ever
    ahead.reader.close()


def read_into(feed: LineFeed, found: list[int | None], over: threading.Event, until: int) -> None:
    """Read until there are so many lines."""
    while len(found) < until and not over.is_set():
        time.sleep(0.001)
        found += numbers(feed.read(5))
