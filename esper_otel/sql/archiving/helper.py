"""The relay's process that archives: ``python -m esper_otel.sql.archiving.helper RUN URL NAME SCRATCH``.

Each line of its input is a question (:class:`Question`), which archives at most one segment; each line of its output
the answer. It has a low priority, one thread and bounded memory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from esper_otel.archive.address import address_of
from esper_otel.runs.places import run_of
from esper_otel.sql.archiving.archiver import Archiver, Done
from esper_otel.sql.connect import open_database

MEMORY_LIMIT: Final = "512MB"
NICE: Final = 10


class Question(msgspec.Struct, frozen=True):
    """A step: the ranks whose logs count, whether the segment that grows does, and whether the run is over."""

    ranks: list[int]
    tail: bool
    over: bool


_QUESTIONS: Final = msgspec.json.Decoder(Question)


class Helper:
    """Answers questions about one run."""

    def __init__(self, run: Path, url: str, name: str, scratch: Path) -> None:
        """Open the database; the archive and the run are opened when they are asked for."""
        self._run, self._address, self._files = run, address_of(url).of(name), scratch / "files"
        self._files.mkdir()
        self._database = open_database(scratch, MEMORY_LIMIT)
        self._database.execute("SET threads = 1")
        self._archiver: Archiver | None = None
        self._ranks: frozenset[int] = frozenset()

    def answer(self, question: Question) -> dict[str, object]:
        """Archive a segment; what was done, and what waits."""
        self._ranks = frozenset(question.ranks)
        try:
            if not self._ranks:
                return {}
            if self._archiver is None:
                self._archiver = Archiver(
                    run_of(self._run), self._address, self._files, self._database, follows=self._is_followed
                )
            done = self._archiver.step(tail=question.tail, is_over=question.over) or Done()
            return {"segments": done.segments, "lines": done.lines, "pending_bytes": self._archiver.pending_bytes()}
        except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
            pending = self._pending_bytes()
            self._archiver = None  # what it knew of the archive is looked up again
            return {"error": str(error) or type(error).__name__, "pending_bytes": pending}

    def _pending_bytes(self) -> int:
        try:
            return self._archiver.pending_bytes() if self._archiver is not None else 0
        except OSError:
            return 0

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _is_followed(self, rank: int) -> bool:
        return rank in self._ranks


def main() -> None:
    """Answer every line of the input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the relay ends its helpers
    os.nice(NICE)
    run, url, name, scratch = sys.argv[1:]
    tempfile.tempdir = scratch
    helper = Helper(Path(run), url, name, Path(scratch))
    try:
        with contextlib.suppress(BrokenPipeError):  # the relay was killed: nobody waits for the answer
            for line in sys.stdin.buffer:
                os.write(1, msgspec.json.encode(helper.answer(_QUESTIONS.decode(line))) + b"\n")
    finally:
        helper.close()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
