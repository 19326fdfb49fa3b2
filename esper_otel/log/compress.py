"""Compressing closed segments, beside the threads that record."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import zstandard

from esper_otel.log.opening import create

_CHUNK_BYTES: Final = 1024 * 1024


def compress_later(segment: Path) -> None:
    """Replace a closed segment by its ``.zst``, on a thread of its own."""
    thread = threading.Thread(target=compress, args=(segment,), name="esper-otel-compress", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return  # no thread is to be had while the interpreter ends: the segment stays plain


def compress(segment: Path) -> None:
    """Replace a closed segment by its ``.zst``. A segment that cannot be compressed stays as it is.

    The compressed file gets its name when it is whole, and the plain one goes last: a follower finds one or both.
    """
    draft = segment.with_name(f".{segment.name}.zst.new")
    try:
        with segment.open("rb") as source, create(draft) as target:
            zstandard.ZstdCompressor().copy_stream(source, target, read_size=_CHUNK_BYTES)
        draft.rename(segment.with_name(f"{segment.name}.zst"))
        segment.unlink()
    except (OSError, zstandard.ZstdError):
        draft.unlink(missing_ok=True)
