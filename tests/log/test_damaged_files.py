"""Files that were cut, filled with zeros, glued together or overwritten in part: all that can be read of them is."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_otel.events import PolicyUpdate
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.reader import LogReader
from tests.log.test_reader import append, line, lines, read_all, run
from tests.log.writing import put, quiet

__all__ = ["run"]

BOM: Final = b"\xef\xbb\xbf"
PACK: Final[dict[str, Callable[[bytes], bytes]]] = {".gz": gzip.compress, ".zst": zstandard.compress}
ESPER_OTEL: Final = Path(sys.executable).with_name("esper-otel")
SUFFIXES: Final = st.sampled_from(sorted(PACK))
FRAMES: Final = st.lists(st.integers(0, 12), min_size=1, max_size=4)
"""Lines in each of the frames of a file."""


def frames_of(sizes: list[int], suffix: str) -> tuple[list[bytes], list[list[int]]]:
    """The frames of a file, and the numbers of the lines in each."""
    numbers = iter(range(1, 1000))
    held = [[next(numbers) for _ in range(size)] for size in sizes]
    return [PACK[suffix](lines(*seqs)) for seqs in held], held


def read_file(name: str, content: bytes) -> list[int | str | None]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(content)
        return read_all(path)


def split(found: list[int | str | None]) -> tuple[list[int | None], list[str]]:
    """Numbers of the records, and reasons of what gave none."""
    return [item for item in found if not isinstance(item, str)], [item for item in found if isinstance(item, str)]


def given_by(content: bytes, suffix: str) -> bytes:
    """What an ordinary decompressor gives, fed byte by byte."""
    given, decoder = [], None
    for number in range(len(content)):
        if decoder is None or decoder.eof:
            decoder = zlib.decompressobj(31) if suffix == ".gz" else zstandard.ZstdDecompressor().decompressobj()
        given.append(decoder.decompress(content[number : number + 1]))
    return b"".join(given)


WHOLE: Final = st.just("line")
DAMAGES: Final = st.sampled_from(["line", "bom", "torn", "zeros", "garbage"])


@settings(deadline=None)
@given(st.lists(DAMAGES, max_size=12), st.data())
def test_every_whole_line_is_read_and_every_damaged_stretch_is_counted(kinds: list[str], data: st.DataObject) -> None:
    content, seqs = b"", []
    for number, kind in enumerate(kinds, 1):
        if kind == "zeros":
            content += b"\0" * data.draw(st.integers(1, 5000))
        elif kind == "garbage":
            content += data.draw(st.sampled_from([b"x", b"{]", b"\xff\xfe", b'{"a":1}', line(number)[:-2]])) + b"\n"
        else:
            torn = line(9)[: data.draw(st.integers(1, len(line(9)) - 3))] if kind == "torn" else b""
            content += (BOM if kind == "bom" else torn) + line(number)
            seqs.append(number)
    found, bad = split(read_file("events.jsonl", content))

    assert seqs == found
    in_a_row = [kind for kind, _ in groupby(kinds, lambda kind: kind if kind == "zeros" else object())]
    assert kinds.count("torn") + kinds.count("garbage") + in_a_row.count("zeros") == len(bad)


@settings(deadline=None)
@given(SUFFIXES, FRAMES, st.data())
def test_an_archive_cut_anywhere_gives_what_a_decompressor_can_give(
    suffix: str, sizes: list[int], data: st.DataObject
) -> None:
    frames, _ = frames_of(sizes, suffix)
    content = b"".join(frames)
    content = content[: data.draw(st.integers(0, len(content)))]
    found, bad = split(read_file(f"x.jsonl{suffix}", content))

    whole = given_by(content, suffix)
    assert whole.count(b"\n") <= len(found) <= whole.count(b"\n") + 1  # the last one may lack its newline alone
    ends = [sum(map(len, frames[:count])) for count in range(len(frames) + 1)]
    assert (0 if len(content) in ends else 1) == len(bad)


@settings(deadline=None)
@given(SUFFIXES, FRAMES, st.data())
def test_garbage_around_frames_costs_no_line_and_is_counted(suffix: str, sizes: list[int], data: st.DataObject) -> None:
    frames, held = frames_of(sizes, suffix)
    gaps = [data.draw(st.binary(max_size=300) | st.builds(bytes, st.integers(0, 5000))) for _ in frames]
    if gaps[-1].startswith(b"{"):
        gaps[-1] = b"x" + gaps[-1]  # behind the last frame, that is: in front of the first one it is no archive
    content = b"".join(frame + gap for frame, gap in zip(frames, gaps, strict=True))
    found, bad = split(read_file(f"x.jsonl{suffix}", content))

    assert [seq for seqs in held for seq in seqs] == found
    assert sum(1 for gap in gaps if gap.strip(b"\0")) == len(bad)


@settings(deadline=None)
@given(SUFFIXES, st.lists(st.integers(1, 12), min_size=3, max_size=3), st.data())
def test_a_frame_overwritten_in_part_costs_none_of_the_others(
    suffix: str, sizes: list[int], data: st.DataObject
) -> None:
    (first, second, third), held = frames_of(sizes, suffix)
    at = data.draw(st.integers(0, len(second) - 1))
    bad_bytes = data.draw(st.binary(min_size=1, max_size=40))
    damaged = (second[:at] + bad_bytes + second[at + len(bad_bytes) :])[: len(second)]
    found, _ = split(read_file(f"x.jsonl{suffix}", first + damaged + third))

    assert {*held[0], *held[2]} <= {*found}


@settings(deadline=None)
@given(SUFFIXES, FRAMES, st.integers(1, 5), st.binary(max_size=200))
def test_reading_goes_on_in_a_damaged_archive_where_it_stopped(
    suffix: str, sizes: list[int], step: int, garbage: bytes
) -> None:
    frames, held = frames_of(sizes, suffix)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"x.jsonl{suffix}"
        path.write_bytes((garbage if garbage[:1] != b"{" else b"").join(frames))
        found: list[int | None] = []
        positions = None
        while True:
            with LogReader(path, positions=positions) as reader:
                batch = reader.read(step)
                positions = reader.positions
            if not batch:
                break
            found += [item.seq for item in batch if isinstance(item, Record)]

    assert [seq for seqs in held for seq in seqs] == found


@pytest.mark.parametrize("suffix", PACK)
def test_a_cut_archive_of_many_lines_is_read_up_to_the_cut(run: Path, suffix: str) -> None:
    content = b"".join(line(seq) for seq in range(20_000))
    packed = PACK[suffix](content)
    (run / f"x.jsonl{suffix}").write_bytes(packed[: len(packed) // 2])
    found, bad = split(read_all(run / f"x.jsonl{suffix}"))

    assert given_by(packed[: len(packed) // 2], suffix).count(b"\n") == len(found) > 3000
    assert ["unreadable"] == bad


def test_a_frame_that_is_to_be_skipped_is_skipped(run: Path) -> None:
    skippable = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    path = run / "x.jsonl.zst"
    path.write_bytes(zstandard.compress(lines(1)) + skippable + zstandard.compress(lines(2)))
    assert [1, 2] == read_all(path)

    path.write_bytes(zstandard.compress(lines(1)) + skippable[:-1])
    assert [1, "unreadable"] == read_all(path)


@pytest.mark.parametrize("suffix", PACK)
def test_a_file_that_a_program_unpacked_under_its_old_name_is_read(run: Path, suffix: str) -> None:
    (run / f"x.jsonl{suffix}").write_bytes(BOM + lines(1, 2))
    assert [1, 2] == read_all(run / f"x.jsonl{suffix}")
    (run / f"y.jsonl{suffix}").write_bytes(PACK[".gz" if suffix == ".zst" else ".zst"](lines(1, 2)))
    assert [1, 2] == read_all(run / f"y.jsonl{suffix}")


def test_a_small_archive_of_very_much_is_read_in_bounded_memory(run: Path) -> None:
    code = (
        "import re, sys\nfrom esper_otel.log.reader import LogReader\n"
        "with LogReader(sys.argv[1]) as reader: found = reader.read()\n"
        "print([getattr(item, 'reason', 'record').value for item in found],"
        " re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    packer = zstandard.ZstdCompressor().compressobj()
    packed = b"".join([*(packer.compress(b"x" * 2**20) for _ in range(1024)), packer.flush()])
    (run / "x.jsonl.zst").write_bytes(packed)
    done = subprocess.run([sys.executable, "-c", code, run / "x.jsonl.zst"], capture_output=True, text=True, check=True)

    assert len(packed) < 200_000
    assert "['torn']" in done.stdout
    assert int(done.stdout.split()[-1]) < 300_000


def test_a_file_full_of_beginnings_of_frames_is_given_up_in_time(run: Path) -> None:
    (run / "x.jsonl.gz").write_bytes(gzip.compress(lines(1)) + b"\x1f\x8b\x08\x00" * 200_000)

    assert [1, "unreadable"] == read_all(run / "x.jsonl.gz")


def test_zeros_in_a_growing_log_are_passed_over_once_a_line_stands_behind_them(run: Path) -> None:
    path = run / "events.jsonl"
    append(path, lines(1) + line(2)[:20] + b"\0" * 40_000_000)
    with LogReader(run, follow=True) as reader:
        assert [1] == [item.seq for item in reader.read() if isinstance(item, Record)]
        append(path, lines(3))
        hole, third = *reader.read(), *reader.read()

        assert isinstance(hole, BadLine)
        assert "40000000 zero bytes" == hole.excerpt
        assert isinstance(third, Record)


@pytest.mark.parametrize(
    "command",
    [
        ["sql", "RUN", "SELECT count(*) FROM runs"],
        ["backfill", "RUN", "-o", "OUT"],
        ["report", "RUN", "-o", "OUT"],
        ["compact", "RUN", "-o", "OUT"],
    ],
    ids=lambda command: command[0],
)
def test_what_could_not_be_read_is_told_by_every_command(run: Path, command: list[str]) -> None:
    named = {"RUN": run / "x.jsonl.gz", "OUT": run / "out"}
    writer = quiet(run)
    put(writer, *[PolicyUpdate(ppo_update_idx=number) for number in range(400)])
    writer.close()
    named["RUN"].write_bytes(gzip.compress((run / "events.jsonl").read_bytes())[:-30])
    arguments = [named.get(part, part) for part in command]
    done = subprocess.run([ESPER_OTEL, *arguments], capture_output=True, text=True, check=False)

    assert "gave no event (unreadable 1)" in done.stderr, done.stdout
