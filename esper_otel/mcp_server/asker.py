"""Client of the worker process, which it stops when a question takes too long."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Final

import msgspec

from esper_otel.mcp_server.messages import Answer, Question
from esper_otel.sql.staging.workers import read_frame, write_frame

_ANSWERS: Final = msgspec.json.Decoder(Answer)


class AskError(ValueError):
    """A question has no answer; the text tells the caller why."""


class Asker:
    """Answers questions by means of a worker process. Thread-safe: one question at a time."""

    def __init__(self, limit_s: int) -> None:
        """Create it without a worker. ``limit_s``: seconds per question, at least 1, reading the log included."""
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._worker: _Process | None = None

    def ask(self, question: Question) -> Answer:
        """Return the answer. Blocks until it is there.

        Raises:
            AskError: the question is invalid, takes too long or needs too much memory.
        """
        with self._lock:
            if self._worker is None or self._worker.process.poll() is not None:
                self._close()
                self._worker = _Process()
            answer = self._worker.ask(msgspec.json.encode(question), self.limit_s)
            if answer is None:
                was_late = self._worker.was_late
                self._close()
                raise AskError(self._late() if was_late else "the worker process ended, possibly out of memory")
        if answer.error is not None:
            raise AskError(answer.error)
        return answer

    def close(self) -> None:
        """End the worker and remove its temporary files."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _late(self) -> str:
        return (
            f"no answer within {self.limit_s} s: ask for less, run 'esper-otel compact RUN' once so that the log need"
            " not be read each time, or start the server with a longer --timeout"
        )


class _Process:
    def __init__(self) -> None:
        self._scratch = tempfile.mkdtemp(prefix="esper-otel-mcp-")
        command = [sys.executable, "-m", "esper_otel.mcp_server.worker", self._scratch]
        # the directory that an assistant happens to run in is no place to import from
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=environment
        )
        self.was_late = False

    def ask(self, question: bytes, limit_s: float) -> Answer | None:
        """Return the answer, or None if the worker ended before it gave one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        timer = threading.Timer(limit_s, self._end_late)
        timer.start()
        try:
            write_frame(self.process.stdin, question)
            frame = read_frame(self.process.stdout)
            return None if frame is None else _ANSWERS.decode(frame)
        except (OSError, msgspec.DecodeError):
            return None
        finally:
            timer.cancel()
            timer.join()

    def _end_late(self) -> None:
        self.was_late = True
        self._kill()

    def _kill(self) -> None:
        """End the worker and the helper processes that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        self._kill()
        self.process.communicate()
        shutil.rmtree(self._scratch, ignore_errors=True)
