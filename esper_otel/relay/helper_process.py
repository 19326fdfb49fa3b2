"""A process of the relay's that answers questions, for work that must not take the relay's own time."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_POLL_S: Final = 0.2


class HelperProcess:
    """Runs ``python -m MODULE ARGUMENTS SCRATCH``, started when it is asked and again where it ended.

    Each line of its input is a question, each line of its output the answer. It ends with its input.
    """

    def __init__(self, module: str, *arguments: str, name: str) -> None:
        """Start nothing yet. ``name``: its work, in the name of its scratch directory."""
        self._module, self._arguments, self._name = module, arguments, name
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = ""

    def ask(self, question: bytes, is_cut: Callable[[], bool], within_s: float) -> bytes | None:
        """The answer; None once ``is_cut`` says that nobody waits for it, or when there is none in time.

        Raises:
            OSError: the process cannot be started, or ended.
        """
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(question + b"\n")
            process.stdin.flush()
            answer = self._line(process, is_cut, within_s)
        except OSError:
            self.close()
            raise
        if answer is None:
            self.close()
        return answer

    def close(self) -> None:
        """End the process and the helpers that it started."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = ""

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._scratch = tempfile.mkdtemp(prefix=f"esper-otel-{self._name}-")
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module, *self._arguments, self._scratch],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], is_cut: Callable[[], bool], within_s: float) -> bytes | None:
        assert process.stdout is not None
        deadline = time.monotonic() + within_s
        poll, found = select.poll(), b""
        poll.register(process.stdout, select.POLLIN)
        while not found.endswith(b"\n"):
            if is_cut() or time.monotonic() > deadline:
                return None
            if poll.poll(_POLL_S * 1000):
                part = os.read(process.stdout.fileno(), 1 << 16)
                if not part:
                    raise OSError(f"exit status {process.wait()}")
                found += part
        return found
