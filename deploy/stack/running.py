"""Starts, supervises and stops the programs of a stack."""

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from deploy.stack.program import Program, StackError

READY_S: Final = 60.0
"""Longest wait for a program: Tempo and Grafana take tens of seconds on a busy machine."""

STOP_S: Final = 10.0
"""Time for a program to store its data before it is killed."""

WATCH_S: Final = 0.2
LAST_LINES: Final = 8


class Running:
    """The programs of a stack that was started."""

    def __init__(self, logs: Path) -> None:
        """Create it; the output of each program goes to a file under ``logs``."""
        self._logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each program."""
        return {name: child.pid for name, child in self._children.items()}

    def start(self, program: Program) -> subprocess.Popen[bytes]:
        """Write its files and start it.

        Raises:
            StackError: it cannot be started.
        """
        for path, text in program.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_closed(path, text)
        with self._log(program.name).open("wb") as log:
            try:
                child = subprocess.Popen(
                    program.command,
                    env={**os.environ, **program.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=0,  # Ctrl-C is ours alone: programs are stopped in order
                )
            except OSError as error:
                raise StackError(f"{program.name}: {program.command[0]} cannot be run: {error}") from error
        self._children[program.name] = child
        return child

    def await_ready(self, program: Program) -> None:
        """Return once the program can be used.

        Raises:
            StackError: any program ended, or it is not ready after ``READY_S``.
        """
        deadline = time.monotonic() + READY_S
        while not _answers(program.ready_url):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(
                    f"{program.name} is not ready after {READY_S:g} s ({program.ready_url}). {self._said(program.name)}"
                )
            time.sleep(WATCH_S)

    def check(self) -> None:
        """Return if every program is running.

        Raises:
            StackError: one ended; the message has its name, exit status and last output.
        """
        for name, child in self._children.items():
            status = child.poll()
            if status is not None:
                how = f"with exit status {status}" if status >= 0 else f"by signal {-status}"
                raise StackError(f"{name} ended {how}. {self._said(name)}")

    def watch(self) -> None:
        """Wait until interrupted.

        Raises:
            StackError: a program ended.
        """
        while True:
            self.check()
            time.sleep(WATCH_S)

    def stop(self) -> None:
        """Stop everything, the last one started first."""
        for child in reversed(self._children.values()):
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + STOP_S
        for child in reversed(self._children.values()):
            try:
                child.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _said(self, name: str) -> str:
        path = self._log(name)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return "\n  ".join([f"The end of {path}:", *lines]) if lines else f"{path} is empty."


@contextmanager
def running(programs: Sequence[Program], logs: Path) -> Iterator[Running]:
    """Start all of ``programs``, yield once every one is ready, and stop them all at the end.

    Raises:
        StackError: one cannot be started, ended, or is not ready in time.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as cleanup:
        stack = Running(logs)
        cleanup.callback(stack.stop)
        for program in programs:
            stack.start(program)
        for program in programs:
            stack.await_ready(program)
        yield stack


def _write_closed(path: Path, text: str) -> None:
    """Write configuration that no other user may read: it contains addresses of webhooks and keys."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
