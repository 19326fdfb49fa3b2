"""The directory of a run, followed when it is renamed."""

from __future__ import annotations

import os
from pathlib import Path


class Place:
    """A run's directory by a descriptor of it, which a new name does not change. Linux tells where it lies.

    Attributes:
        known: the path under which the run is followed.
    """

    def __init__(self, directory: Path) -> None:
        """Hold ``directory``, where there is one."""
        self.known = directory.resolve()
        try:
            self._fd = os.open(self.known, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def moved(self) -> Path | None:
        """The directory's new path; None while it has the old one, has none, or the system does not tell."""
        if self._fd < 0 or self._is_at(self.known):
            return None
        try:
            path = Path(f"/proc/self/fd/{self._fd}").readlink()
        except OSError:
            return None
        return path if self._is_at(path) else None

    def close(self) -> None:
        """Let the directory go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.stat(), os.fstat(self._fd))
        except OSError:
            return False
