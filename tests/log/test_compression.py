"""Compression of closed segments: by whom, when, and what is left if it is broken off."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import zstandard

from esper_otel.log.compression.compress import compress
from tests.log.writing import EVENT, SMALL, closed_segments, numbers, put, quiet, until


def test_a_restart_with_compression_compresses_what_an_earlier_session_left_plain(tmp_path: Path) -> None:
    first = quiet(tmp_path / "r", segment_bytes=SMALL)
    while len(closed_segments(tmp_path / "r")) < 3:
        put(first, *[EVENT] * 5)
        time.sleep(0.003)
    first.close()
    written = numbers(tmp_path / "r")
    draft = tmp_path / "r" / ".events.000001.jsonl.zst.0a1b2c3d.new"
    draft.write_bytes(b"of a process that was killed")

    quiet(tmp_path / "r", compress=True).close()

    until(lambda: not closed_segments(tmp_path / "r"))
    assert len(list((tmp_path / "r").glob("events.0*.jsonl.zst"))) >= 3
    assert written == numbers(tmp_path / "r")
    assert not draft.exists()


def test_two_threads_that_compress_one_segment_leave_it_whole(tmp_path: Path) -> None:
    segment = tmp_path / "r" / "events.000001.jsonl"
    segment.parent.mkdir()
    content = os.urandom(4 * 1024 * 1024).hex().encode()
    segment.write_bytes(content)
    threads = [threading.Thread(target=compress, args=(segment,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    packed = segment.with_name("events.000001.jsonl.zst")
    assert [packed] == list(segment.parent.iterdir())
    assert content == zstandard.ZstdDecompressor().decompress(packed.read_bytes(), max_output_size=len(content))
