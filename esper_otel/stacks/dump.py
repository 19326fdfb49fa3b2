"""The Python stacks of one process, by py-spy. It only reads memory: the process is neither stopped nor slowed down."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.stacks.owners import Owner
from esper_otel.text.extras import install

LIMIT_S: Final = 20.0
TRIES: Final = 3
"""A stack that changes while it is read may be unreadable; the next look finds another one."""

_DENIED: Final = ("Permission Denied", "Permission denied", "Operation not permitted", "os error 1)", "os error 13)")
_EXTRA: Final = "stacks"


class StackError(RuntimeError):
    """The stacks cannot be read; the text tells a person why."""


class Frame(msgspec.Struct, frozen=True):
    """One frame: function, file and line."""

    name: str
    filename: str
    line: int = 0

    @property
    def text(self) -> str:
        """For people, as Python's own tracebacks have it."""
        return f"{self.name} ({self.filename}:{self.line})"


class Thread(msgspec.Struct, frozen=True):
    """One thread, the innermost frame first.

    Attributes:
        name: its name; empty where it has none.
        thread_id: its number.
        active: whether it was running rather than waiting.
        owns_gil: whether it held the interpreter lock.
        frames: its frames.
    """

    frames: list[Frame]
    thread_name: str | None = None
    os_thread_id: int | None = None
    active: bool = False
    owns_gil: bool = False


_THREADS: Final = msgspec.json.Decoder(list[Thread])


def program() -> str | None:
    """Path of py-spy, of this environment first; None without one."""
    own = Path(sysconfig.get_path("scripts")) / "py-spy"
    return str(own) if own.is_file() else shutil.which("py-spy")


def stacks_of(owner: Owner, limit_s: float = LIMIT_S) -> list[Thread]:
    """The stacks of the threads of a rank's process, the main thread first.

    Raises:
        StackError: py-spy is missing, not permitted or late, or the process is not that of the rank any more.
    """
    if owner.pid is None:
        raise StackError(owner.problem)
    path = program()
    if path is None:
        raise StackError(f"py-spy is not installed: {install(_EXTRA)}")
    said = ""
    for _ in range(TRIES):
        if not owner.is_still_it:
            raise StackError(f"process {owner.pid} is not that of rank {owner.rank} any more")
        status, output, said = _run([path, "dump", "--nonblocking", "--json", "--pid", str(owner.pid)], limit_s)
        if status == 0:
            return _main_first(_decoded(output), owner.pid)
        if any(word in said for word in _DENIED):
            raise StackError(_denied(owner.pid))
    raise StackError(f"py-spy could not read process {owner.pid}: {said.strip()[-300:] or 'it does not say why'}")


def _run(command: list[str], limit_s: float) -> tuple[int, bytes, str]:
    """Status, output and errors of a program that is ended when it is late."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        environment = {**os.environ, "RUST_LOG": "error"}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True, env=environment
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise StackError(f"py-spy did not answer within {limit_s:g} s") from None
        out.seek(0)
        errors.seek(0)
        return status, out.read(), errors.read().decode("utf-8", "replace")


def _decoded(output: bytes) -> list[Thread]:
    try:
        return _THREADS.decode(output)
    except msgspec.MsgspecError as error:
        raise StackError(f"py-spy's answer is not understood: {error}") from None


def _main_first(threads: list[Thread], pid: int) -> list[Thread]:
    return sorted(threads, key=lambda thread: (thread.os_thread_id != pid, thread.os_thread_id or 0))


def _denied(pid: int) -> str:
    return (
        f"process {pid} may not be read: run this as its user; where /proc/sys/kernel/yama/ptrace_scope is not 0, as"
        " root; in a container, with the capability SYS_PTRACE"
    )
