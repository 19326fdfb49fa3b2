"""Files of an archive on this machine: checked against their names, which tell their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from esper_otel.archive.catalogue import REQUESTS
from esper_otel.archive.layout import Stored
from esper_otel.archive.merged import MERGED
from esper_otel.archive.store import ArchiveError, Store

_MEND: Final = "remove its run from the archive, and archive it again"
_MEND_MERGED: Final = "remove it, and merge the files of the archive again"


class StaleError(FileNotFoundError):
    """A file is gone: its segment was archived anew, with more lines, since the archive was listed."""


class DamagedError(ArchiveError):
    """A file is not what was written."""


def download(store: Store, files: Iterable[tuple[str, Stored]], directory: Path) -> list[Path]:
    """Paths of ``files``, each given with its folder, in the same order; those of a local archive where they lie.

    Raises:
        StaleError: one is gone; list the archive again.
        DamagedError: one is not what was written.
        ArchiveError: one cannot be read.
    """
    get = partial(_local if store.directory is not None else _downloaded, store, directory)
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="esper-archive") as threads:
        try:
            return list(threads.map(get, files))
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _local(store: Store, _: Path, file: tuple[str, Stored]) -> Path:
    folder, stored = file
    assert store.directory is not None
    path = store.directory / folder / stored.name
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise StaleError(f"{path} is gone") from None
    if size != stored.size:
        raise DamagedError(f"{path} is damaged: {size:,} bytes, {stored.size:,} were written; {_mend(folder)}")
    return path


def _downloaded(store: Store, directory: Path, file: tuple[str, Stored]) -> Path:
    folder, stored = file
    target = directory / stored.name
    digest = hashlib.sha256()
    try:
        with target.open("wb") as written:
            for piece in store.pieces(f"{folder}/{stored.name}"):
                digest.update(piece)
                written.write(piece)
    except FileNotFoundError:
        raise StaleError(f"{store.url}/{folder}/{stored.name} is gone") from None
    if not digest.hexdigest().startswith(stored.hash):
        raise DamagedError(
            f"{store.url}/{folder}/{stored.name} is damaged: its content is not what was written; {_mend(folder)}"
        )
    return target


def _mend(folder: str) -> str:
    return _MEND_MERGED if folder == MERGED else _MEND
