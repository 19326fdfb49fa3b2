"""Safe opening of files in a directory that others can write: a copied run, a shared directory.

What is read must be a file, not a pipe or a device that never ends. What is written must be the file of that name, not
one that a symbolic link of that name leads to. And a descriptor must be the one that was opened: none of the numbers of
the standard streams, to which C code prints whatever is open there, and no number that other code in the process closed
and was given again for a file of its own.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from esper_otel.log.posix import fcntl, resource

_NEW_FILE_MODE: Final = 0o644
"""Less what the umask takes away."""


_FIRST: Final = 3
"""The first number behind those of standard input, output and error."""


_DESCRIPTORS: Final = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")

_MOST_FILES: Final = 65_536


class Descriptor:
    """The number of an open file, for as long as it means that file."""

    def __init__(self, number: int) -> None:
        """Create it for the number of a file that was just opened."""
        self.number = number
        status = os.fstat(number)
        self._file = status.st_dev, status.st_ino
        self._flags = fcntl.fcntl(number, fcntl.F_GETFL)

    def status(self) -> os.stat_result:
        """Status of the file.

        Raises:
            OSError: other code closed it (EBADF), whether or not the number belongs to another file now.
        """
        status = os.fstat(self.number)
        if (status.st_dev, status.st_ino) != self._file:
            raise OSError(errno.EBADF, "other code closed this file and opened another one under its number")
        return status

    def is_at(self, path: Path) -> bool:
        """Return True if ``path`` is this file."""
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (status.st_dev, status.st_ino) == self._file

    def is_removed(self, path: Path) -> bool:
        """Return True if it was removed from ``path``. The number of its links alone does not tell: FUSE may say 0.

        Raises:
            OSError: other code closed it.
        """
        return self.status().st_nlink == 0 and not self.is_at(path)

    def moved_from(self, path: Path) -> Path | None:
        """Path of this file under the same name in a renamed directory; None if it is still at ``path``. Needs Linux.

        None as well if it was removed, or renamed by itself.
        """
        if self.is_at(path):
            return None
        try:
            found = Path(f"/proc/self/fd/{self.number}").readlink()
        except OSError:
            return None
        return found if found.name == path.name and self.is_at(found) else None

    def close(self) -> None:
        """Close the file; no effect if the number now belongs to another one."""
        try:
            self.status()
            if fcntl.fcntl(self.number, fcntl.F_GETFL) == self._flags:
                os.close(self.number)
        except OSError:
            return


def raise_file_limit() -> None:
    """Let this process have as many files open as it may; for processes of our own, not for a training process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def max_open_files() -> int:
    """Files that one reader may keep open: a process has several readers, and other uses for its descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if soft == resource.RLIM_INFINITY else max(soft // 8, 16)


def open_to_read(path: Path, flags: int = 0) -> io.FileIO:
    """Open ``path``, unbuffered. Never blocks, whatever the type of file.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    return io.FileIO(_open(path, os.O_RDONLY | flags), "rb")


def read_whole(path: Path, max_bytes: int) -> bytes:
    """The content of ``path``.

    Raises:
        OSError: it cannot be read, is not a regular file, or is longer than ``max_bytes``.
    """
    with open_to_read(path) as file:
        content = b"".join(iter(lambda: file.read(1 << 20) if file.tell() <= max_bytes else b"", b""))
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"longer than {max_bytes} bytes", str(path))
    return content


def open_to_change(path: Path, flags: int, mode: int = _NEW_FILE_MODE) -> int:
    """Descriptor of ``path``, which is created with ``mode`` where it is missing; ``flags`` say how it is opened.

    Raises:
        OSError: it cannot be opened, or is a symbolic link or no regular file.
    """
    return _open(path, flags | os.O_CREAT | os.O_NOFOLLOW, mode)


def create(path: Path) -> BinaryIO:
    """A new file at ``path`` for writing, replacing any existing one.

    Raises:
        OSError: it cannot be created.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(_open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have an error name the file that was asked for, not its draft."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name ``path`` when all is written; a device or pipe, as /dev/stdout, is written to itself.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    if is_stream(path):
        with path.open("wb") as stream:
            yield stream
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory; name a file in it", str(path))
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with _named(path):
            opened = create(draft)
        with opened as file:
            yield file
        with _named(path):
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Return True if ``path`` is a device, a pipe or the name of a descriptor, which no file may replace."""
    try:
        file_type = path.stat().st_mode
    except OSError:
        return False
    is_file = stat.S_ISREG(file_type) or stat.S_ISDIR(file_type)
    return not is_file or str(path.absolute()).startswith(_DESCRIPTORS)


def refuse_link(directory: Path) -> None:
    """Return unless ``directory`` is a symbolic link.

    Raises:
        OSError: it is one: what is written to it would land elsewhere.
    """
    if directory.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link, which is not followed for writing; remove it", str(directory))


def _open(path: Path, flags: int, mode: int = _NEW_FILE_MODE) -> int:
    """Open a regular file without blocking; its descriptor, never that of a standard stream."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    file_type = os.fstat(fd).st_mode
    if not stat.S_ISREG(file_type):
        os.close(fd)
        code = errno.EISDIR if stat.S_ISDIR(file_type) else errno.EINVAL
        raise OSError(code, "is not a regular file", str(path))
    if fd >= _FIRST:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(fd)
