"""Compression of closed segments, outside the threads that record."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from esper_otel.log.compression.zst import zstandard
from esper_otel.log.opening import create, open_to_read

_CHUNK_BYTES: Final = 1024 * 1024


def compress_later(segment: Path) -> None:
    """Replace a closed segment by its ``.zst``, on a separate thread."""
    thread = threading.Thread(target=compress, args=(segment,), name="esper-otel-compress", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return  # no thread is to be had while the interpreter ends: the segment stays plain


def compress(segment: Path) -> None:
    """Replace a closed segment by its ``.zst``. A segment that cannot be compressed stays unchanged.

    The compressed file gets its name once complete, then the plain one is removed: a follower finds one or both.
    """
    draft = segment.with_name(f".{segment.name}.zst.new")
    try:
        package = zstandard()
    except OSError:
        return  # configure() has reported it
    try:
        with open_to_read(segment) as source, create(draft) as target:
            package.ZstdCompressor().copy_stream(source, target, read_size=_CHUNK_BYTES)
        draft.rename(segment.with_name(f"{segment.name}.zst"))
        segment.unlink()
    except (OSError, package.ZstdError):
        draft.unlink(missing_ok=True)
