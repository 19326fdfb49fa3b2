"""The index of an archive: descriptions that were read once, so that nobody gets all of them for a list or a query.

One object beside the runs, or a file in the user's cache directory where the archive cannot be written; replaced as a
whole. It is derived: an entry counts only while its object has the tag that it had; whatever is missing, outdated or
damaged is read again. Of two readers that write it at once the later one wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from esper_otel.archive.layout import INDEX
from esper_otel.archive.store import ArchiveError, Store
from esper_otel.log.opening import read_whole, written_whole

VERSION: Final = 1
WORTH: Final = 20
"""Descriptions that were read, from which on an index is written."""

MAX_BYTES: Final = 64 * 2**20
MAX_UNPACKED: Final = 2**30
"""Limits of an index: a million descriptions of a kilobyte."""

_FAST: Final = 1


class Entry(NamedTuple):
    """An object as it was read: its tag, and its content."""

    tag: str
    content: bytes


class _Content(msgspec.Struct, array_like=True):
    version: int
    entries: dict[str, Entry]


_DECODER: Final = msgspec.msgpack.Decoder(_Content)


def load(store: Store) -> dict[str, Entry]:
    """The entries of both places by key; empty where there are none that can be used."""
    found: dict[str, Entry] = {}
    with contextlib.suppress(OSError):
        found |= _entries(read_whole(_cached(store), MAX_BYTES))
    with contextlib.suppress(OSError):
        found |= _entries(store.get(INDEX))
    return found


def save(store: Store, entries: Mapping[str, Entry]) -> None:
    """Write the index beside the runs, else into the cache directory. Where nothing can be written, nothing happens."""
    packed = zlib.compress(msgspec.msgpack.encode(_Content(VERSION, dict(entries))), _FAST)
    if len(packed) > MAX_BYTES:
        return
    try:
        store.put(INDEX, packed)
    except ArchiveError:
        path = _cached(store)
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with written_whole(path) as file:
                file.write(packed)


def _entries(packed: bytes) -> dict[str, Entry]:
    unpacker = zlib.decompressobj()
    try:
        content = _DECODER.decode(unpacker.decompress(packed, MAX_UNPACKED))
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return content.entries if content.version == VERSION else {}


def _cached(store: Store) -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111, PTH117  # never raises
    name = hashlib.sha256(store.url.encode()).hexdigest()[:32]
    return cache / "esper-otel" / f"archive-{name}.msgpack"
