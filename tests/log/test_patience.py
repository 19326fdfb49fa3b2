"""Reading from file systems that fail, for a while or for good, and with few descriptors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esper_otel.log import listing
from esper_otel.log.envelope import BadLine
from esper_otel.log.reader import LogReader
from esper_otel.log.reading import patience
from esper_otel.log.reading.segment import OpenSegment
from tests.log.test_reader import append, line, lines, read_all, run, seqs
from tests.log.writing import until

__all__ = ["run"]

PASSING = [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE]


class Disk:
    """A disk on which reading a log fails while ``error`` is set, at ``bad_bytes`` only where they are given."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.bad_bytes: range | None = None
        self.failures = 0

    def check(self, at: int, length: int) -> int:
        """Bytes that can be read at ``at``; fails where none can."""
        if self.error is None:
            return length
        begin = self.bad_bytes.start if self.bad_bytes is not None else 0
        if at >= begin and (self.bad_bytes is None or at in self.bad_bytes):
            self.failures += 1
            raise OSError(self.error, os.strerror(self.error))
        return min(length, begin - at) if at < begin else length


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    read, pread = OpenSegment.read, os.pread

    def read_or_fail(file: OpenSegment) -> bytes:
        length = disk.check(file._raw.tell(), 65_536)
        if length == 65_536:
            return read(file)
        given = file._raw.read(length) or b""
        file.reached += len(given)
        return given

    def pread_or_fail(fd: int, length: int, at: int) -> bytes:
        is_log = "/events" in os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
        return pread(fd, disk.check(at, length) if is_log else length, at)

    monkeypatch.setattr(OpenSegment, "read", read_or_fail)
    monkeypatch.setattr(os, "pread", pread_or_fail)
    return disk


@pytest.mark.parametrize("error", PASSING)
def test_a_follower_goes_on_where_it_was_when_the_failure_is_over(run: Path, disk: Disk, error: int) -> None:
    append(run / "events.jsonl", lines(1) + line(2)[:10])
    with LogReader(run, follow=True) as reader:
        assert [1] == seqs(reader.read())
        disk.error = error
        append(run / "events.jsonl", line(2)[10:] + lines(3))
        assert [] == reader.read()
        assert reader.unread_bytes() > 0
        until(lambda: reader.read() == [] and disk.failures > 3)
        assert reader.trouble is not None
        assert os.strerror(error) in reader.trouble
        assert 0 < reader.read_errors <= disk.failures
        disk.error = None
        found: list[int | str | None] = []
        until(lambda: bool(found.extend(seqs(reader.read())) or found[-2:] == [2, 3]))

        assert [2, 3] == found
        assert reader.trouble is None
        assert 0 == reader.unread_bytes()


def test_no_outage_is_long_enough_to_pass_over_a_segment(
    run: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.1)
    append(run / "events.000001.jsonl", lines(1, 2))
    append(run / "events.jsonl", lines(3))
    disk.error = errno.EIO
    with LogReader(run, follow=True) as reader:
        began = time.monotonic()
        until(lambda: reader.read() == [] and time.monotonic() - began > 1)
        disk.error = None
        found: list[int | str | None] = []
        until(lambda: bool(found.extend(seqs(reader.read())) or len(found) >= 3))

    assert [1, 2, 3] == found


def test_who_does_not_follow_waits_for_a_failure_to_pass(run: Path, disk: Disk) -> None:
    append(run / "events.jsonl", lines(1, 2))
    disk.error = errno.ESTALE
    check = disk.check

    def healed_after_three(at: int, length: int) -> int:
        disk.error = None if disk.failures >= 3 else disk.error
        return check(at, length)

    disk.check = healed_after_three  # type: ignore[method-assign]

    assert [1, 2] == read_all(run)


def test_who_does_not_follow_gives_up_in_time_and_a_later_reader_has_it_all(
    run: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    append(run / "events.jsonl", lines(1, 2))
    disk.error = errno.EIO
    with LogReader(run) as reader:
        assert ["unreadable"] == seqs(reader.read())
        assert [] == reader.read()
        positions = reader.positions
    disk.error = None

    assert [1, 2] == read_all(run, positions=positions)


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("name", ["events.jsonl", "events.000001.jsonl"])
def test_a_bad_sector_costs_the_lines_in_it_alone(
    run: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, name: str, follow: bool
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    written = b"".join(line(seq) for seq in range(1, 401))
    append(run / name, written)
    if name != "events.jsonl":
        append(run / "events.jsonl", lines(401))
    disk.error, disk.bad_bytes = errno.EIO, range(8192, 12288)
    found: list[int | str | None] = []
    with LogReader(run, follow=follow) as reader:
        last = 400 if name == "events.jsonl" else 401
        until(lambda: bool(found.extend(seqs(reader.read())) or last in found))

    whole_in_front = written[:8192].count(b"\n")
    first_behind = written[:12288].count(b"\n") + 2
    assert [*range(1, whole_in_front + 1), "unreadable", "malformed", *range(first_behind, last + 1)] == found


@pytest.mark.parametrize("error", PASSING)
def test_a_directory_that_cannot_be_listed_is_listed_again(
    run: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    listed = listing._list
    failing = [True]

    def list_or_fail(directory: Path) -> tuple[str, ...]:
        if failing[0]:
            raise OSError(error, os.strerror(error))
        return listed(directory)

    monkeypatch.setattr(listing, "_list", list_or_fail)
    append(run / "events.jsonl", lines(1))
    with LogReader(run, follow=True) as reader:
        assert [] == reader.read()
        assert reader.trouble is not None
        failing[0] = False
        found: list[int | str | None] = []
        until(lambda: bool(found.extend(seqs(reader.read())) or found))

        assert [1] == found
        assert reader.trouble is None


def test_a_pipe_in_place_of_a_log_is_told_once_and_read_when_it_is_a_file(run: Path) -> None:
    os.mkfifo(run / "events.jsonl")
    with LogReader(run, follow=True) as reader:
        found = reader.read()
        until(lambda: reader.read() == [] and reader.read_errors > 2)
        assert ["unreadable"] == seqs(found)
        assert isinstance(found[0], BadLine)
        assert "is not a regular file" in found[0].excerpt
        (run / "events.jsonl").unlink()
        append(run / "events.jsonl", lines(1))
        later: list[int | str | None] = []
        until(lambda: bool(later.extend(seqs(reader.read())) or later))

        assert [1] == later


FEW_DESCRIPTORS = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from esper_otel.log.reader import LogReader
from tests.log.test_reader import append, line, seqs
run, ranks = Path(sys.argv[1]), range(1, 201)
def all_of(reader):
    found = []
    while batch := reader.read(): found += batch
    return [(item.rank, item.seq) for item in found]
for rank in ranks: append(run / f"events.rank{rank}.jsonl", line(1, rank))
with LogReader(run, follow=True) as reader, LogReader(run, follow=True) as second:
    for seq in range(1, 4):
        expected = sorted((rank, seq) for rank in ranks)
        assert sorted(all_of(reader)) == sorted(all_of(second)) == expected
        assert reader.unread_bytes() == 0 == reader.read_errors
        for rank in ranks: append(run / f"events.rank{rank}.jsonl", line(seq + 1, rank))
    print(len(list(Path("/proc/self/fd").iterdir())))
"""


def test_more_ranks_than_descriptors_are_followed(run: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FEW_DESCRIPTORS, run], capture_output=True, text=True, check=False)

    assert "" == done.stderr
    assert int(done.stdout) < 48


def test_a_rank_whose_file_was_closed_for_others_loses_no_line_that_comes_then(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esper_otel.log.reader.max_open_files", lambda: 1)
    ranks = [1, 2, 3]
    paths = {rank: run / f"events.rank{rank}.jsonl" for rank in ranks}
    for rank, path in paths.items():
        append(path, line(1, rank) + line(2, rank)[:20])
    with LogReader(run, follow=True) as reader:
        assert [1, 1, 1] == seqs(reader.read())
        for rank, path in paths.items():
            append(path, line(2, rank)[20:])
        assert [2, 2, 2] == seqs(reader.read())
        paths[2].write_bytes(line(1, 2) + line(3, 2))
        assert ["truncated", 3] == seqs(reader.read())
        reader.finish()
        append(paths[3], b"torn")

        assert ["torn"] == seqs(reader.read())


def test_a_relay_takes_all_descriptors_that_it_may_have() -> None:
    code = (
        "import resource\nfrom esper_otel.log.opening import raise_file_limit\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard)); raise_file_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(hard, 65536) - 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "True" == done.stdout.strip()
