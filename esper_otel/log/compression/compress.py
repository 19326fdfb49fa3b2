"""Compression of closed segments, outside the threads that record."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from esper_otel.log.compression.zst import zstandard
from esper_otel.log.layout import Series
from esper_otel.log.listing import names_in
from esper_otel.log.opening import create, open_to_read

_CHUNK_BYTES: Final = 1024 * 1024


def compress_left(series: Series) -> None:
    """Compress the closed segments that an earlier session of the log left plain: its process ended first."""
    with suppress(OSError):  # compressing is no condition for recording
        left = [path for path in series.closed().values() if path.suffix == ".jsonl"]
        drafts = tuple(f".{path.name}.zst." for path in left)
        for name in names_in(series.directory):
            if name.startswith(drafts) and name.endswith(".new"):
                (series.directory / name).unlink(missing_ok=True)
        if left:
            compress_later(*left)


def compress_later(*segments: Path) -> None:
    """Replace closed segments by their ``.zst``, one after the other, on a separate thread.

    The thread does not hold up the end of the process.
    """
    thread = threading.Thread(target=_compress_all, args=(segments,), name="esper-otel-compress", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return  # no thread is to be had while the interpreter ends: the segments stay plain


def compress(segment: Path) -> None:
    """Replace a closed segment by its ``.zst``. A segment that cannot be compressed stays unchanged.

    The compressed file gets its name once complete, then the plain one is removed: a follower finds one or both. Two
    threads, of this process or of two without working locks, may compress the same segment: each has its own draft.
    """
    draft = segment.with_name(f".{segment.name}.zst.{os.urandom(4).hex()}.new")
    try:
        package = zstandard()
    except OSError:
        return  # configure() has reported it
    try:
        with open_to_read(segment) as source, create(draft) as target:
            package.ZstdCompressor().copy_stream(source, target, read_size=_CHUNK_BYTES)
        draft.rename(segment.with_name(f"{segment.name}.zst"))
        segment.unlink(missing_ok=True)
    except (OSError, package.ZstdError):
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _compress_all(segments: tuple[Path, ...]) -> None:
    for segment in segments:
        compress(segment)
