"""The pipeline of the archive: it has closed segments of the log archived, and at the end of the run the last one.

A process with a low priority does the work, one segment for each question, so that neither converting nor a slow or
lost connection delays what the relay delivers. What the archive has is looked up in the archive: a relay that was
killed leaves nothing to repair, and the next one continues.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from esper_otel.log.layout import Series, resolve
from esper_otel.relay.console import say
from esper_otel.relay.following import Worker
from esper_otel.relay.helper_process import HelperProcess
from esper_otel.relay.pipeline import Account, Context, Points
from esper_otel.signals import own
from esper_otel.signals.own_signal import OwnSignal

EVERY_S: Final = 5.0
"""Time between two looks for a closed segment; a busy rank closes one in a minute or more."""

TAIL_EVERY_S: Final = 900.0
"""Time between two archivings of the segment that grows: what the loss of a node and its disk can cost."""

ANSWER_S: Final = 1800.0
"""Longest time for one segment: its requests time out long before."""

RETRY_S: Final = (2.0, 60.0)
"""Pause after a failure, which doubles with each further one, and the longest pause."""


class Question(msgspec.Struct, frozen=True):
    """A step of the archiver: which ranks, whether the segment that grows too, whether the run is over."""

    ranks: list[int]
    tail: bool
    over: bool


class Answer(msgspec.Struct, frozen=True):
    """Result of a step: segments (0 or 1) and lines that were archived, bytes that wait, and the failure as text."""

    segments: int = 0
    lines: int = 0
    pending_bytes: int = 0
    error: str = ""


_ANSWERS: Final = msgspec.json.Decoder(Answer)


class ArchivePipeline(Worker):
    """Archives the run.

    Attributes:
        signal: name in the relay's own metrics.
        exported: lines of the log that the archive took.
        failed: attempts that failed; all are repeated.
        refused: nothing is given up.
        last_error: the last failure as text.
    """

    destination = "the archive"
    is_required = True
    JOIN_S = 2.0
    signal: Final = "archive"
    refused: Final = 0

    def __init__(self, context: Context) -> None:
        """Start nothing yet."""
        super().__init__()
        self._path, self._follows = context.run_directory or context.path, context.follows
        self._url, self._run_id = context.archive, context.run_id
        self._process = HelperProcess(
            "esper_otel.sql.archiving.helper", str(self._path), self._url, self._run_id, name="archive"
        )
        self._pending_bytes = 0
        self._pause_s = 0.0
        self._said = ""
        self.exported = self.failed = 0
        self.last_error = ""

    @property
    def accounts(self) -> Sequence[Account]:
        """The only account: this pipeline."""
        return [self]

    def describe(self) -> str:
        """One line for the console."""
        return f"archive to {self._url} as {self._run_id}: segments when they are closed, the rest at the end"

    def points(self) -> Mapping[OwnSignal, Points]:
        """Bytes of closed segments that are not archived."""
        return {own.UNDELIVERED: {(self.signal,): float(self._pending_bytes)}}

    def work(self) -> bool:
        """Archive until the end."""
        tail_at = time.monotonic() + TAIL_EVERY_S
        while not self._is_finishing.is_set() and not self._stop.is_set():
            has_tail = time.monotonic() >= tail_at
            answer = self._ask(tail=has_tail, over=False)
            if has_tail and answer is not None and not answer.segments:
                tail_at = time.monotonic() + TAIL_EVERY_S
            if answer is None or not answer.segments:
                self._is_finishing.wait(self._pause_s or EVERY_S)
        while not self._stop.is_set() and self._is_finishing.is_set():
            answer = self._ask(tail=True, over=self._is_over)
            if answer is not None and not answer.segments:
                return True
            if answer is None:
                self._stop.wait(min(self._pause_s, EVERY_S))
        return False

    def rest(self) -> None:
        """End the archiving process."""
        self._process.close()

    def _ask(self, *, tail: bool, over: bool) -> Answer | None:
        """Have a segment archived; None if that failed."""
        try:
            question = Question(self._ranks(), tail, over)
            line = self._process.ask(msgspec.json.encode(question), self._stop.is_set, ANSWER_S)
            if line is None:
                return None
            answer = _ANSWERS.decode(line)
        except (OSError, msgspec.MsgspecError) as error:
            answer = Answer(error=f"the archiving process ended ({error})", pending_bytes=self._pending_bytes)
        self._pending_bytes = answer.pending_bytes
        if answer.error:
            self._fail(answer.error)
            return None
        if self._said:
            say(f"{self.destination}: works again")
        self._said, self._pause_s = "", 0.0
        self.exported += answer.lines
        return answer

    def _fail(self, error: str) -> None:
        self.failed += 1
        self.last_error = error
        self._pause_s = min(max(2 * self._pause_s, RETRY_S[0]), RETRY_S[1])
        if error != self._said:
            self._said = error
            say(f"{self.destination}: {error}; it is tried again, nothing is lost meanwhile")

    def _ranks(self) -> list[int]:
        """Ranks whose logs this relay archives, as far as there are any yet."""
        try:
            ranks = {source.rank if isinstance(source, Series) else 0 for source in resolve(self._path)}
        except FileNotFoundError:
            return []
        return sorted(rank for rank in ranks if self._follows is None or self._follows(rank))
