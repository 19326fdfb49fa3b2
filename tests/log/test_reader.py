"""Reading logs: finished and growing, whole and damaged."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from esper_otel.log.compression.compress import compress
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.log.reader import LogReader
from esper_otel.log.reading.lines import MAX_LINE_BYTES, LineSplitter
from tests.recorded import RECORDINGS, recording


def line(seq: int, rank: int = 0) -> bytes:
    event = {"event_id": f"r-{rank}-{seq}", "event_type": "A", "timestamp": "2026-11-22T19:40:00+00:00"}
    return json.dumps(event | {"run_id": "r", "rank": rank, "seq": seq, "data": {"n": seq}}).encode() + b"\n"


def lines(*seqs: int) -> bytes:
    return b"".join(line(seq) for seq in seqs)


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def seqs(found: list[Record | BadLine]) -> list[int | str | None]:
    return [item.seq if isinstance(item, Record) else item.reason.value for item in found]


def read_all(path: Path, **options: object) -> list[int | str | None]:
    found: list[int | str | None] = []
    with LogReader(path, **options) as reader:  # type: ignore[arg-type]  # options of the reader
        while batch := reader.read(3):
            found += seqs(batch)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_segments_are_read_in_their_order(run: Path) -> None:
    (run / "events.000001.jsonl").write_bytes(lines(1, 2))
    (run / "events.000002.jsonl").write_bytes(lines(3))
    (run / "events.jsonl").write_bytes(lines(4))

    assert [1, 2, 3, 4] == read_all(run)


def test_all_ranks_of_a_run_are_read(run: Path) -> None:
    (run / "events.jsonl").write_bytes(line(1) + line(2))
    (run / "events.rank1.jsonl").write_bytes(line(1, rank=1))
    (run / "events.rank10.jsonl").write_bytes(line(1, rank=10))

    with LogReader(run) as reader:
        found = reader.read(100)

    assert [(0, 1), (0, 2), (1, 1), (10, 1)] == sorted((r.rank, r.seq) for r in found if isinstance(r, Record))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_are_read(run: Path, suffix: str) -> None:
    packed = gzip.compress(lines(1, 2)) if suffix == ".gz" else zstandard.compress(lines(1, 2))
    (run / f"x.jsonl{suffix}").write_bytes(packed)

    assert [1, 2] == read_all(run / f"x.jsonl{suffix}")
    assert [1, 2] == read_all(run / f"x.jsonl{suffix}", follow=True)


@given(st.lists(st.sampled_from([b"", b"{}", b"nonsense", b"ok"]), max_size=12), st.data())
def test_splitting_into_lines_does_not_depend_on_the_chunks(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"\n".join(pieces)
    splitter = LineSplitter()
    rest = stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        splitter.feed(rest[:size])
        rest = rest[size:]

    *complete, last = stream.split(b"\n")
    taken = []
    while (item := splitter.pop()) is not None:
        taken.append(item)
    assert [(piece, len(piece) + 1) for piece in complete] == taken
    assert ((last, len(last)) if last else None) == splitter.pop_rest()


@pytest.mark.parametrize("stop", range(8))
def test_reading_goes_on_exactly_at_a_position(run: Path, stop: int) -> None:
    (run / "events.000001.jsonl").write_bytes(lines(1, 2, 3))
    (run / "events.jsonl").write_bytes(lines(4, 5, 6, 7))
    with LogReader(run) as reader:
        before = seqs(reader.read(stop)) if stop else []
        positions = json.loads(json.dumps(reader.positions))

    assert [1, 2, 3, 4, 5, 6, 7] == before + read_all(run, positions=positions)


def test_a_position_stays_right_when_its_segment_is_rotated_and_compressed(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1, 2, 3))
    with LogReader(run, follow=True) as reader:
        assert [1, 2] == seqs(reader.read(2))
        positions = reader.positions
    (run / "events.jsonl").rename(run / "events.000001.jsonl")
    compress(run / "events.000001.jsonl")
    (run / "events.jsonl").write_bytes(lines(4))

    assert ["events.000001.jsonl.zst", "events.jsonl"] == sorted(path.name for path in run.iterdir())
    assert [3, 4] == read_all(run, positions=positions)


def test_following_gives_what_is_appended_and_nothing_twice(run: Path) -> None:
    log = run / "events.jsonl"
    log.write_bytes(lines(1))
    with LogReader(run, follow=True) as reader:
        assert [1] == seqs(reader.read())
        assert [] == reader.read()
        append(log, line(2)[:10])
        assert [] == reader.read()
        append(log, line(2)[10:] + line(3))
        assert [2, 3] == seqs(reader.read())


def test_following_survives_rotation_with_lines_left_behind(run: Path) -> None:
    log = run / "events.jsonl"
    log.write_bytes(lines(1))
    with LogReader(run, follow=True) as reader:
        assert [1] == seqs(reader.read())
        append(log, lines(2))
        log.rename(run / "events.000001.jsonl")
        assert [2] == seqs(reader.read())
        log.write_bytes(lines(3))
        assert [3] == seqs(reader.read())


def test_following_survives_several_rotations_at_once(run: Path) -> None:
    log = run / "events.jsonl"
    log.write_bytes(lines(1))
    with LogReader(run, follow=True) as reader:
        assert [1] == seqs(reader.read())
        for number in (1, 2, 3):
            log.rename(run / f"events.{number:06d}.jsonl")
            log.write_bytes(lines(number + 1))
            if number < 3:
                compress(run / f"events.{number:06d}.jsonl")
        assert [2, 3, 4] == seqs(reader.read())


def test_following_waits_for_a_run_that_does_not_exist_yet(tmp_path: Path) -> None:
    with LogReader(tmp_path / "later", follow=True) as reader:
        assert [] == reader.read()
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "events.jsonl").write_bytes(lines(1))
        reader.finish()
        assert [1] == seqs(reader.read())


def test_following_survives_a_directory_that_is_removed_and_made_anew(run: Path) -> None:
    (run / "events.000001.jsonl").write_bytes(lines(1))
    (run / "events.jsonl").write_bytes(lines(2))
    with LogReader(run, follow=True) as reader:
        assert [1, 2] == seqs(reader.read())
        shutil.rmtree(run)
        assert [] == reader.read()
        run.mkdir()
        (run / "events.jsonl").write_bytes(lines(3, 4))
        assert [3, 4] == seqs(reader.read())


def test_a_file_that_was_cut_is_reported_and_not_read_again(run: Path) -> None:
    log = run / "events.jsonl"
    log.write_bytes(lines(1, 2, 3))
    with LogReader(run, follow=True) as reader:
        assert [1, 2, 3] == seqs(reader.read())
        os.truncate(log, len(lines(1)))
        assert ["truncated"] == seqs(reader.read())
        append(log, lines(4))
        assert [4] == seqs(reader.read())


def test_a_file_that_was_emptied_and_written_anew_is_read_from_its_start(run: Path) -> None:
    log = run / "other.jsonl"
    log.write_bytes(lines(1, 2, 3))
    with LogReader(log, follow=True) as reader:
        assert [1, 2, 3] == seqs(reader.read())
        os.truncate(log, 0)
        append(log, lines(4))
        assert ["truncated", 4] == seqs(reader.read())


def test_a_torn_last_line_is_reported_when_nothing_more_will_come(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1) + line(2)[:-9])

    assert [1, "torn"] == read_all(run)


def test_a_line_that_was_half_written_when_a_reader_stopped_is_whole_to_the_next_one(run: Path) -> None:
    log = run / "events.jsonl"
    log.write_bytes(lines(1) + line(2)[:-9])
    with LogReader(run) as reader:
        assert [1, "torn"] == seqs(reader.read())
        assert [] == reader.read()
    append(log, line(2)[-9:] + lines(3))

    assert [2, 3] == read_all(run, positions=reader.positions)


def test_a_last_line_that_lacks_only_its_newline_counts(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1) + line(2)[:-1])

    assert [1, 2] == read_all(run)


def test_a_log_cut_at_any_byte_loses_at_most_one_event(run: Path) -> None:
    whole = lines(1, 2, 3)
    for cut in range(len(lines(1, 2)), len(whole)):
        (run / "events.jsonl").write_bytes(whole[:cut])
        expected = [1, 2] if cut == len(lines(1, 2)) else [1, 2, 3] if cut == len(whole) - 1 else [1, 2, "torn"]

        assert expected == read_all(run)


def test_damage_in_the_middle_costs_only_its_lines(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1) + b"\x00" * 100 + b"\n{]\n\n" + lines(2))

    assert [1, "malformed", "malformed", 2] == read_all(run)


def test_a_line_beyond_the_limit_is_passed_over(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1) + b"x" * (MAX_LINE_BYTES + 10) + b"\n" + lines(2))

    with LogReader(run) as reader:
        found = reader.read()

    assert [1, "too_long", 2] == seqs(found)
    assert [len(lines(1)) + MAX_LINE_BYTES + 11] == [bad.offset for bad in found if isinstance(bad, BadLine)]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_archive_gives_what_it_holds_and_a_reason(run: Path, suffix: str) -> None:
    content = b"".join(line(seq) for seq in range(20_000))
    packed = gzip.compress(content) if suffix == ".gz" else zstandard.compress(content)
    (run / f"x.jsonl{suffix}").write_bytes(packed[: len(packed) // 2])

    found = read_all(run / f"x.jsonl{suffix}")

    assert 0 == found[0]
    assert found[-1] in ("unreadable", "torn")


def test_segments_that_are_gone_are_reported(run: Path) -> None:
    (run / "events.000005.jsonl").write_bytes(lines(5))
    (run / "events.jsonl").write_bytes(lines(6))

    assert ["missing", 5, 6] == read_all(run, positions={"events.jsonl": {"segment": 2, "offset": 10}})


def test_offsets_are_those_of_the_ends_of_lines(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1) + b"\n" + lines(2))

    with LogReader(run) as reader:
        found = reader.read()

    assert [(1, len(lines(1))), (1, len(lines(1, 2)) + 1)] == [(item.segment, item.offset) for item in found]


def test_a_telemetry_directory_means_its_latest_run(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1))
    (run.parent / "latest").symlink_to("run")

    assert [1] == read_all(run.parent)


def test_a_follower_stays_with_its_run_when_a_newer_one_begins(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1))
    latest = run.parent / "latest"
    latest.symlink_to("run")
    with LogReader(latest, follow=True) as reader:
        assert [1] == seqs(reader.read())
        (run.parent / "newer").mkdir()
        (run.parent / "newer" / "events.jsonl").write_bytes(lines(7))
        (run.parent / "newer" / "events.rank1.jsonl").write_bytes(lines(8))
        latest.unlink()
        latest.symlink_to("newer")
        append(run / "events.jsonl", lines(2))
        reader.finish()
        assert [2] == seqs(reader.read())


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_run_whose_log_was_compressed_is_read(run: Path, suffix: str) -> None:
    (run / "events.000001.jsonl").write_bytes(lines(1))
    (run / f"events.jsonl{suffix}").write_bytes(
        gzip.compress(lines(2)) if suffix == ".gz" else zstandard.compress(lines(2))
    )

    assert [1, 2] == read_all(run)


def test_a_directory_of_esper_lite_means_its_newest_run(tmp_path: Path) -> None:
    for number, day in enumerate(("01", "02"), 1):
        (tmp_path / f"telemetry_2026-11-{day}_000000").mkdir()
        (tmp_path / f"telemetry_2026-11-{day}_000000" / "events.jsonl").write_bytes(lines(number))

    assert [2] == read_all(tmp_path)


def test_loose_files_of_a_directory_are_all_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines(2)))

    assert [1, 2] == sorted(read_all(tmp_path), key=str)


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_nothing_to_read_is_an_error_that_says_what_was_looked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(FileNotFoundError, match=f"{name}.*jsonl"):
        LogReader(tmp_path / name)


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_line_of_a_recording_is_a_record(name: str) -> None:
    path = recording(name)
    with gzip.open(path) as file:
        expected = [json.loads(text)["event_id"] for text in file]

    with LogReader(path) as reader:
        found = reader.read(100_000)

    assert expected == [item.event_id for item in found if isinstance(item, Record)]


def test_reasons_are_plain_words() -> None:
    assert "torn" == Reason.TORN.value == f"{Reason.TORN}"
