"""The process that diagnoses the run, and questions to it."""

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
from pathlib import Path
from typing import Final

import msgspec

ANSWER_S: Final = 600.0
"""Longest time for an answer: the first reads the log of the run so far."""

_POLL_S: Final = 0.2


class Told(msgspec.Struct, frozen=True):
    """One finding as the process tells it (:mod:`esper_otel.diagnosis.live`)."""

    kind: str
    severity: str
    confidence: str
    sentence: str
    alert: str = ""
    evidence: str = ""
    when: str = ""
    who: dict[str, str] = {}
    cause: str = ""
    query: str = ""
    meaning: str = ""
    next_step: str = ""
    hold_s: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """The findings of now, and the time of a core that they took; ``error`` tells why there are none."""

    session: str = ""
    findings: list[Told] = []
    error: str = ""
    core_s: float = 0.0


_DECODER: Final = msgspec.json.Decoder(Answer)


class EvaluationError(RuntimeError):
    """The process ended, or gave no answer."""


class Evaluator:
    """Diagnoses a run by means of a process, which is started again where it ended."""

    def __init__(self, run: Path) -> None:
        """``run``: run directory, log file or telemetry directory. Nothing is started yet."""
        self._run = run
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = ""

    def ask(self, is_cut: Callable[[], bool]) -> Answer | None:
        """The findings of now; None once ``is_cut`` says that nobody waits for them.

        Raises:
            EvaluationError: there is no answer.
        """
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(b"\n")
            process.stdin.flush()
            line = self._line(process, is_cut)
        except OSError as error:
            self.close()
            raise EvaluationError(f"the diagnosing process ended ({error})") from error
        if line is None:
            self.close()
            return None
        try:
            return _DECODER.decode(line)
        except msgspec.MsgspecError as error:
            self.close()
            raise EvaluationError(f"the diagnosing process gave no answer ({error})") from error

    def close(self) -> None:
        """End the process and the helpers that it started."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                self._scratch = tempfile.mkdtemp(prefix="esper-otel-live-")
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "esper_otel.diagnosis.live", str(self._run), self._scratch],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise EvaluationError(f"no process can be started for the diagnosis: {error}") from error
        return self._process

    def _line(self, process: subprocess.Popen[bytes], is_cut: Callable[[], bool]) -> bytes | None:
        assert process.stdout is not None
        deadline = time.monotonic() + ANSWER_S
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
