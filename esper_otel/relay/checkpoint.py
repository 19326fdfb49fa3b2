"""Where a relay keeps how far it got: one JSON file, replaced as a whole.

What a pipeline made of the log and how far it read stand in one file, so that the two can never disagree after a kill.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log.duplicates import Duplicates
from esper_otel.log.opening import create, open_to_change, open_to_read
from esper_otel.relay.console import say

VERSION: Final = 1


class StateDirectoryBusyError(RuntimeError):
    """Another relay works with the same state."""


class StateDirectory:
    """The directory of one relay's state; held by a lock as long as the relay lives."""

    def __init__(self, path: Path) -> None:
        """Create ``path`` and take its lock.

        Raises:
            StateDirectoryBusyError: another relay holds it.
            OSError: it cannot be created or written.
        """
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._has_complained = False
        self._lock = open_to_change(path / "lock", os.O_RDWR)
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StateDirectoryBusyError(
                f"{path}: another relay works on this run; stop it, or give this one its own --state-dir"
            ) from None

    def load(self, name: str) -> dict[str, Any] | None:
        """The stored state, or None when there is none that this version can use."""
        try:
            with open_to_read(self.path / f"{name}.json") as file:
                stored = msgspec.json.decode(file.readall())
        except (OSError, msgspec.DecodeError, RecursionError):
            return None
        return stored if isinstance(stored, dict) and stored.get("version") == VERSION else None

    def greatest_seq(self, rank: int) -> int:
        """The greatest number of an event of ``rank`` that any part of the relay had read when it was stored."""
        greatest = 0
        for path in self.path.glob("*.json"):
            stored = self.load(path.stem)
            if stored is not None:
                greatest = max(greatest, _greatest_seq(stored, rank))
        return greatest

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Replace the stored state in one step. When it cannot be written the old one stands, and this is said once."""
        target = self.path / f"{name}.json"
        fresh = target.with_suffix(".json.new")
        try:
            with create(fresh) as file:
                file.write(msgspec.json.encode({"version": VERSION, **state}))
            fresh.replace(target)
        except OSError as error:
            if not self._has_complained:
                say(f"cannot store its position in {self.path} ({error}); a restart goes on from the last stored one")
            self._has_complained = True
        else:
            self._has_complained = False

    def close(self) -> None:
        """Let another relay have it."""
        os.close(self._lock)


def _greatest_seq(stored: dict[str, Any], rank: int) -> int:
    try:
        return Duplicates(stored["ingest"]).greatest_seq(rank)
    except (KeyError, TypeError, AttributeError):  # another kind of state, or a damaged one
        return 0
