"""Who writes a log: a lock that the kernel releases when the writing process dies, however it dies.

POSIX record locks belong to a process: forked children do not inherit them, and closing any descriptor of the file in
the owning process releases them. So this process remembers what it holds and never opens such a file a second time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from pathlib import Path
from typing import Final

from esper_otel.log.opening import open_to_change

_FLOCK: Final = "qqihh" if sys.platform == "darwin" else "hhqqi"
"""Layout of ``struct flock``: start, length, pid, type, whence on macOS; type, whence, start, length, pid on Linux."""

_held: set[Path] = set()


class LockHeldError(RuntimeError):
    """Another writer has the lock."""


class WriterLock:
    """Exclusive right to write one rank's log."""

    def __init__(self, path: Path) -> None:
        """``path`` is the lock's file; nothing is opened yet."""
        self._path = path.absolute()
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock, without waiting. On a file system without locks this does nothing.

        Raises:
            LockHeldError: a living process, perhaps this one, has it.
            OSError: its file cannot be created.
        """
        if self._path in _held:
            raise LockHeldError(f"this process already writes the log guarded by {self._path}")
        fd = open_to_change(self._path, os.O_RDWR)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise LockHeldError(
                    f"process {holder(self._path) or '?'} already writes the log guarded by {self._path}"
                ) from None
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            return
        self._fd = fd
        _held.add(self._path)

    def renew(self) -> None:
        """Take the lock again if its file was removed.

        Raises:
            LockHeldError: another process took it meanwhile.
            OSError: its file cannot be created.
        """
        if self._fd < 0 or not self._path.exists():
            self.release()
            self.acquire()

    def release(self) -> None:
        """Give the lock back; without effect when it is not held."""
        _held.discard(self._path)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(path: Path) -> int | None:
    """Process id of the living writer that holds the lock at ``path``; None when nobody does. Takes nothing."""
    try:
        return known_holder(path)
    except OSError:
        return None


def known_holder(path: Path) -> int | None:
    """As :func:`holder`, where it matters whether nobody holds the lock or nobody can tell.

    Raises:
        OSError: the file is gone, or the file system has no locks.
    """
    if path.absolute() in _held:
        return os.getpid()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _ask(fd)
    finally:
        os.close(fd)


def forget_after_fork() -> None:
    """In a forked child: its parent's locks are not its own."""
    _held.clear()


def _ask(fd: int) -> int | None:
    if sys.platform == "darwin":
        asked = struct.pack(_FLOCK, 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
        _, _, pid, kind, _ = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    else:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else int(pid)
