"""Opening files in a directory that somebody else may have filled: a run that was copied, a directory that is shared.

What is read must be a file, not a pipe or a device that never ends. What is written must be the file of that name, not
one that a symbolic link of that name leads to.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

_NEW_FILE_MODE: Final = 0o644
"""Less what the umask takes away."""


def open_to_read(path: Path) -> io.FileIO:
    """Open ``path``, unbuffered. Does not block, whatever it is.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    _refuse_special(fd, path)
    return io.FileIO(fd, "rb")


def read_whole(path: Path, max_bytes: int) -> bytes:
    """The content of ``path``.

    Raises:
        OSError: it cannot be read, is no regular file, or is longer than ``max_bytes``.
    """
    with open_to_read(path) as file:
        content = b"".join(iter(lambda: file.read(1 << 20) if file.tell() <= max_bytes else b"", b""))
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"longer than {max_bytes} bytes", str(path))
    return content


def open_to_change(path: Path, flags: int) -> int:
    """Descriptor of ``path``, which is created where it is missing; ``flags`` say how it is opened.

    Raises:
        OSError: it cannot be opened, or is a symbolic link or no regular file.
    """
    fd = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, _NEW_FILE_MODE)
    _refuse_special(fd, path)
    return fd


def create(path: Path) -> BinaryIO:
    """A new file at ``path`` for writing, in place of whatever is there.

    Raises:
        OSError: it cannot be created.
    """
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _NEW_FILE_MODE)
    return os.fdopen(fd, "wb")


def refuse_link(directory: Path) -> None:
    """Return unless ``directory`` is a symbolic link.

    Raises:
        OSError: it is one: what is written to it would land elsewhere.
    """
    if directory.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link and is not written through; remove it", str(directory))


def _refuse_special(fd: int, path: Path) -> None:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, "is no regular file", str(path))
