"""A log that lost lines that were read: what is in it afterwards is read once, whatever happened in between."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from esper_otel.events import Decision
from esper_otel.log.compression.compress import compress
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.log.layout import Series
from esper_otel.log.reader import LogReader
from esper_otel.log.reading.last_seq import resumed_seq
from esper_otel.log.writer import Writer

SESSION = 10_000
"""Numbers of a session of the simulated writer; a real one counts on from the time of day."""


def line(seq: int, text: str = "", run_id: str = "run") -> bytes:
    event = {
        "event_type": "A",
        "timestamp": "2026-11-22T19:40:00Z",
        "data": {"text": text},
        "run_id": run_id,
        "seq": seq,
    }
    return json.dumps(event).encode() + b"\n"


def numbers_of(content: bytes) -> list[int]:
    """The numbers of whole lines, the last newline there or not."""
    found = []
    for text in content.split(b"\n"):
        try:
            found.append(int(json.loads(text)["seq"]))
        except ValueError:
            continue
    return found


class LosingLog(RuleBasedStateMachine):
    """Writes, rotates, compresses, loses, goes on, reads and restarts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.series = Series(Path(self.directory.name), 0)
        self.series.active.touch()
        self.content: dict[int, bytes] = {}
        self.reader = LogReader(self.series.directory, follow=True)
        self.seq = 0
        self.found: list[int] = []

    @rule(count=st.integers(1, 8), length=st.integers(0, 400))
    def write(self, count: int, length: int) -> None:
        active = self.series.active.read_bytes()
        mended = b"\n" if active and not active.endswith(b"\n") else b""
        fresh = b"".join(line(self.seq + number, "é" * length) for number in range(1, count + 1))
        self.series.active.write_bytes(active + mended + fresh)
        self.seq += count

    @rule()
    def rotate(self) -> None:
        if self.series.active.read_bytes().endswith(b"\n"):
            self.series.active.rename(self.series.closed_path(self.series.numbers()[-1]))
            self.series.active.touch()

    @precondition(lambda self: self.series.closed())
    @rule()
    def compress_one(self) -> None:
        plain = [path for path in self.series.closed().values() if path.suffix == ".jsonl"]
        if plain:
            compress(plain[0])

    @rule(share=st.floats(0, 1), zeros=st.sampled_from([0, 0, 700]))
    def lose_the_end_under_the_reader(self, share: float, zeros: int) -> None:
        kept = int(self.series.active.stat().st_size * share)
        os.truncate(self.series.active, kept)
        os.truncate(self.series.active, kept + zeros)
        self.seq = (self.seq // SESSION + 1) * SESSION

    @rule(share=st.floats(0, 1), zeros=st.sampled_from([0, 700]))
    def lose_the_end_and_the_last_rotation_while_nobody_reads(self, share: float, zeros: int) -> None:
        closed = sorted(path for path in self.series.closed().values() if path.suffix == ".jsonl")
        positions = json.loads(json.dumps(self.reader.positions))
        self.reader.close()
        if closed and closed[-1] == self.series.closed()[max(self.series.closed())]:
            closed[-1].replace(self.series.active)
        self.lose_the_end_under_the_reader(share, zeros)
        self.write(3, 0)
        self.reader = LogReader(self.series.directory, follow=True, positions=positions)

    @rule(limit=st.integers(1, 7))
    def read(self, limit: int) -> None:
        self.take(self.reader.read(limit))

    @rule()
    def restart(self) -> None:
        positions = json.loads(json.dumps(self.reader.positions))
        self.reader.close()
        self.reader = LogReader(self.series.directory, follow=True, positions=positions)

    def take(self, batch: list[Record | BadLine]) -> None:
        self.found += [item.seq for item in batch if isinstance(item, Record) and item.seq is not None]
        assert sorted(set(self.found)) == self.found

    def teardown(self) -> None:
        self.write(1, 0)
        self.reader.finish()
        while batch := self.reader.read(3):
            self.take(batch)
        self.reader.close()
        with LogReader(self.series.directory) as reader:
            left = [item.seq for item in reader.read(100_000) if isinstance(item, Record)]
        self.directory.cleanup()

        assert [] == [seq for seq in left if seq not in set(self.found)]


LosingLog.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestLosingLog = LosingLog.TestCase


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "events.jsonl"


def after_the_loss(log: Path, before: bytes, after: bytes) -> tuple[list[int | None], list[str]]:
    """Numbers and losses that a second reader gives, when the first one had read ``before``."""
    log.write_bytes(before)
    with LogReader(log.parent) as reader:
        reader.read()
        positions = json.loads(json.dumps(reader.positions))
    log.write_bytes(after)
    with LogReader(log.parent, positions=positions) as reader:
        found = reader.read()
    return (
        [item.seq for item in found if isinstance(item, Record)],
        [item.excerpt for item in found if isinstance(item, BadLine) and item.reason is Reason.TRUNCATED],
    )


FOUR = b"".join(line(seq) for seq in (1, 2, 3, 4))
TWO = b"".join(line(seq) for seq in (1, 2))
LATER = 1_700_000_000_000_000


@pytest.mark.parametrize("new", [0, 1, 2, 3, 50], ids="with {} new lines".format)
def test_new_lines_where_lost_ones_were_are_read_however_long_the_log_is_now(log: Path, new: int) -> None:
    fresh = [LATER + number for number in range(new)]

    found, told = after_the_loss(log, FOUR, TWO + b"".join(map(line, fresh)))

    assert fresh == found
    assert ["2 events read before, numbers 3 to 4, are gone"] == told


def test_a_log_of_the_very_same_length_is_not_taken_for_the_old_one(log: Path) -> None:
    fresh = line(LATER)
    rest = FOUR[len(TWO) :]
    fresh = line(LATER, "x" * (len(rest) - len(fresh)))
    assert len(FOUR) == len(TWO + fresh)

    assert [LATER] == after_the_loss(log, FOUR, TWO + fresh)[0]


def test_a_log_that_lost_nothing_is_read_on_without_a_word(log: Path) -> None:
    assert ([5], []) == after_the_loss(log, FOUR, FOUR + line(5))


def test_a_log_of_which_nothing_is_left_is_read_from_its_start(log: Path) -> None:
    found, told = after_the_loss(log, FOUR, line(LATER))

    assert [LATER] == found
    assert ["all events read so far are gone, up to number 4"] == told


def test_losses_over_the_border_of_two_sessions_are_not_counted_but_named(log: Path) -> None:
    found, told = after_the_loss(log, TWO + line(LATER) + line(LATER + 1), TWO + line(LATER + 500))

    assert [LATER + 500] == found
    assert [f"events read before, numbers 3 to {LATER + 1}, are gone"] == told


def test_another_run_under_the_same_name_is_read_whole(log: Path) -> None:
    other = b"".join(line(seq, "x" * 100, run_id="other") for seq in (1, 2, 3, 4, 5))

    assert [1, 2, 3, 4, 5] == after_the_loss(log, FOUR, other)[0]


def test_a_log_without_numbers_is_read_on_at_its_end(log: Path) -> None:
    old, new = (b'{"event_type": "A", "timestamp": "2026-11-22T19:40:00Z", "event_id": "%d"}\n' % n for n in (1, 2))
    log.write_bytes(old * 3)
    with LogReader(log.parent) as reader:
        reader.read()
        positions = reader.positions
    log.write_bytes(old + new)
    with LogReader(log.parent, follow=True, positions=positions) as reader:
        assert [Reason.TRUNCATED] == [item.reason for item in reader.read() if isinstance(item, BadLine)]
        with log.open("ab") as file:
            file.write(new)
        assert ["2"] == [item.event_id for item in reader.read() if isinstance(item, Record)]


def test_an_older_position_without_a_mark_is_taken_as_it_is(log: Path) -> None:
    log.write_bytes(FOUR)
    positions = {"events.jsonl": {"segment": 1, "offset": len(TWO)}}
    with LogReader(log.parent, positions=positions) as reader:  # type: ignore[arg-type]
        assert [3, 4] == [item.seq for item in reader.read() if isinstance(item, Record)]


def test_segments_that_were_removed_to_save_space_are_no_loss(log: Path) -> None:
    log.write_bytes(TWO)
    with LogReader(log.parent, follow=True) as reader:
        reader.read()
        log.rename(log.with_name("events.000001.jsonl"))
        log.write_bytes(line(3))
        (log.parent / "events.000001.jsonl").unlink()
        log.rename(log.with_name("events.000002.jsonl"))
        log.write_bytes(line(4))
        positions = {"events.jsonl": {**reader.positions["events.jsonl"], "segment": 2, "offset": 0}}
    with LogReader(log.parent, positions=positions) as reader:  # type: ignore[arg-type]
        assert [3, 4] == [item.seq if isinstance(item, Record) else item for item in reader.read()]


# Numbers are never given twice


def continued(run: Path) -> list[int]:
    """Numbers in the log after a new process has written one event to it."""
    writer = Writer(run, "run", heartbeat_s=0)
    writer.put((Decision(env_id=1), time.time_ns(), "default", None, None))
    writer.close()
    return numbers_of((run / "events.jsonl").read_bytes())


def test_a_new_log_counts_from_one(tmp_path: Path) -> None:
    assert [1] == continued(tmp_path / "run")


def test_a_log_that_is_continued_counts_from_the_time_of_day_so_that_no_lost_number_is_given_again(log: Path) -> None:
    log.write_bytes(FOUR)
    before_us = time.time_ns() // 1000

    *old, new = continued(log.parent)

    assert [1, 2, 3, 4] == old
    assert before_us < new <= time.time_ns() // 1000 + 1


def test_a_log_of_which_only_the_empty_file_is_left_is_one_that_is_continued(log: Path) -> None:
    log.touch()

    assert continued(log.parent) > [10**15]


def test_numbers_never_go_back_though_the_clock_was_set_back(log: Path) -> None:
    ahead = time.time_ns() // 1000 + 10**12
    log.write_bytes(line(ahead))

    assert [ahead, ahead + 1] == continued(log.parent)


def test_whoever_has_read_every_number_counts_on_without_a_gap(log: Path) -> None:
    log.write_bytes(FOUR)
    series = Series(log.parent, 0)

    assert [4, 4] == [resumed_seq(series, seen) for seen in (4, 0)]
    assert resumed_seq(series, 5) > 10**15
