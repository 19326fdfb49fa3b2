"""Stored position of a relay: one JSON file, replaced as a whole.

A pipeline's state and its position in the log are in one file, so that the two never disagree after a kill.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log.duplicates import Duplicates
from esper_otel.log.locks.lock import FileLock, LockHeldError
from esper_otel.log.opening import create, open_to_read
from esper_otel.relay.console import say

VERSION: Final = 1
LOCK: Final = "lock"


class StateDirectoryBusyError(RuntimeError):
    """Another relay uses the same state."""


class StateDirectory:
    """The directory of one relay's state, locked as long as the relay lives.

    Attributes:
        is_lost: another relay took the directory when its lock had been removed; nothing is stored any more.
    """

    def __init__(self, path: Path, *, wait_s: float = 0.0) -> None:
        """Create ``path`` and take its lock, which another relay may give back within ``wait_s``.

        Raises:
            StateDirectoryBusyError: another relay holds it.
            OSError: it cannot be created or written.
        """
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.is_lost = False
        self._has_complained = False
        self._lock = FileLock(path / LOCK)
        self._take(wait_s)

    def _take(self, wait_s: float) -> None:
        """Take the lock within ``wait_s``; a longer wait is reported."""
        try:
            self._lock.acquire()
            return
        except LockHeldError:
            if wait_s > 0:
                say(f"another relay follows this run; waiting up to {wait_s:g} s for it to end")
        try:
            self._lock.acquire(wait_s)
        except LockHeldError:
            raise StateDirectoryBusyError(
                f"{self.path}: another relay follows this run; stop it, or give this one its own --state-dir"
            ) from None

    def keep(self) -> None:
        """Take the lock again if a cleaner removed its file or the directory; :attr:`is_lost` when another relay did.

        The file's time is renewed as well: cleaners remove what was not touched for days.
        """
        if not self.path.parent.exists():  # a run that was deleted is not made anew from here
            return
        try:
            self.path.mkdir(exist_ok=True)
            self._lock.renew()
            os.utime(self.path / LOCK)
        except LockHeldError:
            self.is_lost = True
        except OSError as error:
            self._complain(error)

    def move(self, run: Path) -> None:
        """Switch to ``run``, the new path of the renamed run that contains this directory."""
        if not self.path.exists() and (moved := run / self.path.name).is_dir():
            self.path = moved

    def load(self, name: str) -> dict[str, Any] | None:
        """The stored state, or None if there is none that this version can use."""
        try:
            with open_to_read(self.path / f"{name}.json") as file:
                stored = msgspec.json.decode(file.readall())
        except (OSError, msgspec.DecodeError, RecursionError):
            return None
        return stored if isinstance(stored, dict) and stored.get("version") == VERSION else None

    def greatest_seq(self, rank: int) -> int:
        """The greatest number of an event of ``rank`` that any part of the relay had read when the state was stored."""
        greatest = 0
        for path in self.path.glob("*.json"):
            stored = self.load(path.stem)
            if stored is not None:
                greatest = max(greatest, _greatest_seq(stored, rank))
        return greatest

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Replace the stored state atomically. On an error, reported once, the old one remains."""
        if self.is_lost:
            return
        target = self.path / f"{name}.json"
        fresh = target.with_suffix(".json.new")
        try:
            with create(fresh) as file:
                file.write(msgspec.json.encode({"version": VERSION, **state}))
            fresh.replace(target)
        except OSError as error:
            self._complain(error)
        else:
            self._has_complained = False

    def forget(self, name: str) -> None:
        """Remove the stored state, if there is one."""
        with contextlib.suppress(OSError):
            (self.path / f"{name}.json").unlink(missing_ok=True)

    def _complain(self, error: OSError) -> None:
        if not self._has_complained:
            say(f"cannot store its position in {self.path} ({error}); a restart resumes from the last stored one")
        self._has_complained = True

    def close(self) -> None:
        """Release the directory for another relay."""
        self._lock.release()


def _greatest_seq(stored: dict[str, Any], rank: int) -> int:
    try:
        return Duplicates(stored["ingest"]).greatest_seq(rank)
    except (KeyError, TypeError, AttributeError):  # another kind of state, or a damaged one
        return 0
