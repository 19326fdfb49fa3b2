"""Directory listings of logs, refreshed only when the directory may have changed.

Whoever follows a log asks many times a second which segments there are, and a run of weeks has thousands of them. A
directory's own modification time says whether a name came or went. File systems count it in steps of up to 2 s (FAT),
so that it is believed only where it stood still for longer; and since some (network, FUSE) tell it late, never for more
than a few seconds. Whoever writes does not rely on it at all.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

STEP_S: Final = 2.5
"""Minimum age of the modification time before a listing is cached: a later change could have the same time."""

KEPT_S: Final = 5.0
"""Maximum age of a cached listing."""

MAX_DIRECTORIES: Final = 64
"""Directories whose listings are kept."""


class _Held(msgspec.Struct, frozen=True):
    """A listing; ``stamp`` tells the directory and its time, which were first seen at ``seen_at`` (monotonic, s)."""

    names: tuple[str, ...]
    stamp: tuple[int, int, int]
    seen_at: float
    listed_at: float


class Listing:
    """The names in one directory. Safe for use by several threads."""

    def __init__(self, directory: Path) -> None:
        """Read nothing yet; nothing need exist."""
        self._directory = directory
        self._held: _Held | None = None

    def names(self) -> tuple[str, ...]:
        """The current names; empty if the directory is gone, which a follower survives."""
        try:
            return self._names()
        except (FileNotFoundError, NotADirectoryError):
            self._held = None
            return ()

    def _names(self) -> tuple[str, ...]:
        # Looked at before the names are: what changes in between gives the directory another time than is kept here.
        status = self._directory.stat()
        stamp, now, held = (status.st_dev, status.st_ino, status.st_mtime_ns), time.monotonic(), self._held
        seen_at = held.seen_at if held is not None and held.stamp == stamp else now
        if held is not None and held.listed_at - seen_at > STEP_S and now - held.listed_at < KEPT_S:
            return held.names
        names = _list(self._directory)
        self._held = _Held(names, stamp, seen_at, now)
        return names


@lru_cache(MAX_DIRECTORIES)
def listing_of(directory: Path) -> Listing:
    """The shared listing of ``directory`` for all followers of its files."""
    return Listing(directory)


def names_in(directory: Path) -> tuple[str, ...]:
    """The names in ``directory``, listed now without a cache."""
    return Listing(directory).names()


def _list(directory: Path) -> tuple[str, ...]:
    return tuple(os.listdir(directory))  # noqa: PTH208  # a hundred thousand of them
