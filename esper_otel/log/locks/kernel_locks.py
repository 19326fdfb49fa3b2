"""System calls for locks: take, release, and query the holder.

A lock belongs to an open file description (``F_OFD_SETLK``). Such locks and those of earlier versions (``lockf``)
exclude each other. Where the system refuses them (macOS, some network file systems), flock(2) is used, which only
processes of the same machine can ask for.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from esper_otel.log.locks.processes import process_start
from esper_otel.log.posix import fcntl

_NOTE_BYTES: Final = 256
_HOST_CHARACTERS: Final = 64
"""Linux knows no longer ones; the note has room for it."""

_REFUSED: Final = (errno.EACCES, errno.EAGAIN)
_UNSUPPORTED: Final = (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_SET: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None)
_GET: Final[int] = getattr(fcntl, "F_OFD_GETLK", getattr(fcntl, "F_GETLK", 0))


def take(fd: int) -> str | None:
    """Lock the file; the kind of lock that it became, None where there are none.

    Raises:
        BlockingIOError: somebody has it.
        OSError: the system refuses it for another reason.
    """
    try:
        if _SET is not None:
            fcntl.fcntl(fd, _SET, _pack(fcntl.F_WRLCK))
            return "ofd"
    except OSError as error:
        if error.errno in _REFUSED:
            raise BlockingIOError(error.errno, "locked") from None
        if error.errno not in _UNSUPPORTED:
            raise
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return "flock"


def give_back(fd: int) -> None:
    """Unlock the file for every copy of the descriptor.

    Raises:
        OSError: the system refuses it.
    """
    if _SET is not None:
        fcntl.fcntl(fd, _SET, _pack(fcntl.F_UNLCK))
    fcntl.flock(fd, fcntl.LOCK_UN)


def ask(fd: int) -> int | None:
    """Process id of the holder, 0 if it is meaningless here, None if nobody has the lock.

    Raises:
        OSError: nobody can tell.
    """
    noted = _noted(fd)
    is_flock, is_here = noted.get("lock") == "flock", noted.get("place") == _place()
    pid: int | None
    try:
        kind, pid = _conflict(fd, fcntl.F_RDLCK)  # what a mere reader holds does not conflict
    except OSError:
        if not is_flock:
            raise
        kind, pid = fcntl.F_UNLCK, 0
    if kind == fcntl.F_UNLCK and is_flock and not is_here:
        raise OSError(errno.ENOLCK, "only the machine that holds its lock can query it")
    if kind == fcntl.F_UNLCK and not (is_flock and _is_flocked(fd)):
        return None
    if pid > 0:
        return pid  # a lock of an earlier version, whose holder the kernel knows
    pid = noted.get("pid")
    return pid if is_here and isinstance(pid, int) else 0


def is_shared(fd: int) -> bool:
    """Return True if a mere reader holds a shared lock.

    Raises:
        OSError: nobody can tell.
    """
    return _conflict(fd, fcntl.F_WRLCK)[0] == fcntl.F_RDLCK


def _is_flocked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _conflict(fd: int, wanted: int) -> tuple[int, int]:
    """Kind of the lock that conflicts with a ``wanted`` one, and its holder's process id: -1 for ours, 0 if unknown."""
    answer = fcntl.fcntl(fd, _GET, _pack(wanted))
    if sys.platform == "darwin":
        _, _, pid, kind, _ = struct.unpack("qqihh", answer)
    else:
        kind, _, _, _, pid = struct.unpack("hhqqi", answer)
    return kind, pid


def _pack(kind: int) -> bytes:
    """``struct flock`` for a whole file."""
    if sys.platform == "darwin":
        return struct.pack("qqihh", 0, 0, 0, kind, os.SEEK_SET)
    return struct.pack("hhqqi", kind, os.SEEK_SET, 0, 0, 0)


class Note(NamedTuple):
    """A holder's note in the lock's file.

    Attributes:
        pid: its process id, where that means a process of this machine and container; else None.
        start: start of that process, to tell it from a later one of that number; 0 where the file does not say.
        is_here: whether it runs, or ran, on this machine since its last start; None where the file does not say.
        host: name of its machine or container; None where the file does not say.
        outcome: how its run ended; None where it did not say.
    """

    is_here: bool | None
    host: str | None
    outcome: str | None
    pid: int | None = None
    start: int = 0


def note(fd: int, kind: str) -> None:
    """Record the holder in the file: the kernel does not tell to which process a lock of this kind belongs.

    Raises:
        OSError: the disk is full.
    """
    host = socket.gethostname()[:_HOST_CHARACTERS]
    pid = os.getpid()
    _write_note(fd, {"pid": pid, "start": process_start(pid), "lock": kind, "place": _place(), "host": host})


def note_more(fd: int, **more: str) -> None:
    """Append to the note within its space, which works on a full disk.

    Raises:
        OSError: the system refuses it.
    """
    _write_note(fd, _noted(fd) | more)


def noted(fd: int) -> Note:
    """The note of the last holder.

    Raises:
        OSError: the file cannot be read.
    """
    content = _noted(fd)
    texts = {name: value for name, value in content.items() if isinstance(value, str)}
    is_here = texts["place"].split("/")[0] == _place().split("/")[0] if "place" in texts else None
    is_countable = texts.get("place") == _place()
    pid, start = content.get("pid"), content.get("start")
    return Note(
        is_here,
        texts.get("host"),
        texts.get("outcome"),
        pid if is_countable and isinstance(pid, int) else None,
        start if isinstance(start, int) else 0,
    )


def _write_note(fd: int, content: dict[str, Any]) -> None:
    os.pwrite(fd, json.dumps(content).encode().ljust(_NOTE_BYTES - 1) + b"\n", 0)


def _noted(fd: int) -> dict[str, Any]:
    try:
        noted = json.loads(os.pread(fd, _NOTE_BYTES, 0))
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def _place() -> str:
    """Scope in which a process id is valid: this machine since its start, and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()
