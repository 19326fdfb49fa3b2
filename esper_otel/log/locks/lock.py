"""Locks on files: for writing a log, changing ``run.json``, and the relay of a run.

The kernel releases a lock when its holder dies, however it dies; a copy of the file that the same process opens and
closes releases nothing (:mod:`.kernel_locks`). Whoever may open a file may lock it, so that the file is
its owner's alone (mode 0600).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

from esper_otel.log.locks import kernel_locks
from esper_otel.log.opening import Descriptor, open_to_change, open_to_read
from esper_otel.log.posix import in_forked_children

WAIT_S: Final = 1.0
"""Longest wait for a lock before continuing without it."""

_FILE_MODE: Final = 0o600
_PATIENCE_S: Final = 0.05
"""A momentary lock (a reader queries a flock by taking it) does not count as held."""

_PAUSE_S: Final = 0.002

_held: set[FileLock] = set()


class LockHeldError(RuntimeError):
    """Another holder has the lock."""


class FileLock:
    """Exclusive right to what a file guards, within this process and among all others."""

    _DOES: ClassVar = "holds"

    def __init__(self, path: Path) -> None:
        """Create it without opening anything. ``path``: the lock's file."""
        self.path = path.absolute()
        self._file: Descriptor | None = None
        self._is_wanted = False

    def acquire(self, wait_s: float = 0.0) -> None:
        """Take the lock, within ``wait_s`` and a twentieth of a second. No effect if locks are unsupported.

        Raises:
            LockHeldError: a living process, perhaps this one, has it.
            OSError: its file cannot be created, belongs to another user, or is no regular file.
        """
        deadline = time.monotonic() + max(wait_s, _PATIENCE_S)
        while not self._try():
            if time.monotonic() >= deadline:
                raise LockHeldError(f"process {holder(self.path) or '?'} already {self._DOES} {self.path}")
            time.sleep(_PAUSE_S)

    def renew(self) -> None:
        """Take the lock again if it was lost or its file was removed.

        Raises:
            LockHeldError: another process took it meanwhile.
            OSError: its file cannot be created.
        """
        if not self._is_held() or not self.path.exists():
            self._close(give_back=True)
            self.acquire()

    def keep(self, say_once: Callable[[str, str], object]) -> None:
        """Take a lost lock again, as its holder would look dead; reports failures.

        Its file was removed, or other code closed its descriptor. No effect if it was never taken.
        """
        if not self._is_wanted or self._is_held():
            return
        try:
            self.renew()
        except FileNotFoundError:
            return  # its directory is gone as well, and is made again with the next line
        except (LockHeldError, OSError) as error:
            say_once("lock", f"the lock of the log was lost and cannot be taken again: {error}")

    def moved(self) -> Path | None:
        """Path of the lock's file in a renamed directory; None if it is where it was, or is not held."""
        return self._file.moved_from(self.path) if self._file is not None else None

    def note(self, **more: str) -> None:
        """Extend the note about the holder. Needs no new space, so it works on a full disk."""
        if self._file is None:
            return
        with suppress(OSError):
            self._file.status()
            kernel_locks.note_more(self._file.number, **more)

    def release(self) -> None:
        """Release the lock; no effect if it is not held."""
        self._is_wanted = False
        self._close(give_back=True)

    def close_copy(self) -> None:
        """In a forked child: close the copy of the parent's lock, which stays locked."""
        self._is_wanted = False
        self._close(give_back=False)

    def _close(self, *, give_back: bool) -> None:
        _held.discard(self)
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(OSError):
            file.status()
            if give_back:  # not by closing alone: a child that C code forked may have a copy of the descriptor
                kernel_locks.give_back(file.number)
        file.close()

    def _is_held(self) -> bool:
        try:
            return self._file is not None and not self._file.is_removed(self.path)
        except OSError:
            return False

    def _try(self) -> bool:
        """Try once; returns False if somebody has the lock, or its file was replaced meanwhile."""
        _held.add(self)
        try:
            self._file = Descriptor(open_to_change(self.path, os.O_RDWR, _FILE_MODE))
            self._keep_to_owner(self._file)
            kind = kernel_locks.take(self._file.number)
        except OSError as error:
            self._remove_readers_file()
            self._close(give_back=False)
            if isinstance(error, BlockingIOError):
                return False
            raise
        if kind is None:
            self._close(give_back=False)
            return True
        if not self._is_held():
            self._close(give_back=True)
            return False
        self._is_wanted = True
        with suppress(OSError):  # on a full disk the holder has no name
            kernel_locks.note(self._file.number, kind)
        return True

    def _keep_to_owner(self, file: Descriptor) -> None:
        """Remove others' permissions from a file that an earlier version made."""
        status = file.status()
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():
            with suppress(OSError):  # a file system without permissions
                os.fchmod(file.number, stat.S_IMODE(status.st_mode) & ~0o077)

    def _remove_readers_file(self) -> None:
        """Return True for a shared lock, which only other programs take, on a file left open by an earlier version."""
        if self._file is None:
            return
        with suppress(OSError):
            if kernel_locks.is_shared(self._file.number) and self._file.is_at(self.path):
                self.path.unlink()


class WriterLock(FileLock):
    """Exclusive right to write one rank's log."""

    _DOES: ClassVar = "writes the log guarded by"


@contextmanager
def excluding_others(path: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock at ``path`` during a small change; continue without it if it is not available in time.

    Raises:
        OSError: the lock's file cannot be created, or is no regular file.
    """
    lock = FileLock(path)
    try:
        with suppress(LockHeldError, PermissionError):  # another user's file
            lock.acquire(wait_s)
        yield
    finally:
        lock.release()


def holder(path: Path) -> int | None:
    """:func:`known_holder`; None also if that cannot be determined."""
    try:
        return known_holder(path)
    except OSError:
        return None


def is_free(path: Path) -> bool | None:
    """Return True if nobody has the lock at ``path`` or it does not exist; None if that cannot be determined here."""
    try:
        return known_holder(path) is None
    except FileNotFoundError:
        return True
    except OSError:
        return None


def known_holder(path: Path) -> int | None:
    """Process id of the living holder of the lock at ``path``, None if nobody has it. Takes no lock, never waits.

    The number is 0 where the holder lives on another machine or in another container, in which it has another number.

    Raises:
        OSError: the file is gone, is another user's or no regular file, or nobody can tell on this file system.
    """
    with open_to_read(path, os.O_NOFOLLOW) as file:
        return kernel_locks.ask(file.fileno())


def note_in(path: Path) -> kernel_locks.Note:
    """Note of the last holder of the lock at ``path``, empty if there is none. Takes no lock."""
    try:
        with open_to_read(path, os.O_NOFOLLOW) as file:
            return kernel_locks.noted(file.fileno())
    except OSError:
        return kernel_locks.Note(None, None, None)


def forget_after_fork() -> None:
    """In a forked child: close the copies of its parent's locks, which would keep them after the parent's end."""
    for lock in list(_held):
        lock.close_copy()


in_forked_children(forget_after_fork)
