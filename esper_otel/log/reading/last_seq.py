"""Last number of a rank's events, so that a continued run never reuses a number.

The log alone does not tell: a power loss, or the loss of a node that wrote to a network file system, takes lines that a
relay had counted and sent already. An event of another session under a number of theirs would pass for a repetition,
here and wherever they were sent. What was given last stands nowhere for certain, as everything that could say it may be
lost in the same way. So whoever goes on with a log counts from the time of day: that is beyond every earlier session,
since none had a million events a second.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.events.run import RunEnded
from esper_otel.log.layout import COMPRESSED, Series
from esper_otel.log.reading.lines import LineSplitter
from esper_otel.log.reading.segment import OpenSegment

_TAIL_BYTES: Final = 64 * 1024
_TAIL_LINES: Final = 8


class Numbered(msgspec.Struct, frozen=True):
    """The part of a line that identifies the event within its rank."""

    seq: int
    run_id: str | None = None
    event_type: str = ""

    def is_known(self, known: Numbered) -> bool:
        """Return True if somebody who read up to ``known`` has also read this."""
        return self.run_id == known.run_id and self.seq <= known.seq


_DECODER: Final = msgspec.json.Decoder(Numbered)


def numbered(line: bytes) -> Numbered | None:
    """The number of ``line``; None if it is torn or has no number."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return None


def resumed_seq(series: Series, seen: int | None = None) -> int:
    """The number after which a rank's log continues: 0 for a new log.

    Args:
        series: the log.
        seen: the greatest number that anybody has read, where that is known: as long as the log has it, nothing was
            lost, and counting goes on without a gap.
    """
    last = last_seq(series)
    if seen is not None and last >= seen:
        return last
    has_lines = last or seen or series.active.exists() or series.closed()  # an empty file may be all that is left
    return max(last, time.time_ns() // 1000) if has_lines else 0


def last_seq(series: Series) -> int:
    """The greatest ``seq`` in the log of a rank; 0 for a new log or one without numbers."""
    found = _last(series)
    return found.seq if found is not None else 0


def has_unread_end(series: Series, seen: int) -> bool:
    """Return True if the log ends with the end of a process, behind the line with the number ``seen``."""
    found = _last(series)
    return found is not None and found.event_type == RunEnded.event_type and found.seq > seen


def _last(series: Series) -> Numbered | None:
    segments = [series.active, *(path for _, path in sorted(series.closed().items(), reverse=True))]
    for path in segments:
        for line in reversed(_last_lines(path)):
            if (found := numbered(line)) is not None:  # else torn, or not ours: the line before it may tell
                return found
    return None


def _last_lines(path: Path) -> list[bytes]:
    """The last lines of a segment, at least one of them complete if there is one; none if it cannot be read."""
    wanted = _TAIL_BYTES
    try:
        while True:
            size = path.stat().st_size
            is_whole = path.suffix in COMPRESSED or wanted >= size
            lines = _lines_from(path, 0 if is_whole else size - wanted)
            if is_whole or len(lines) > 2:
                return lines
            wanted *= 4
    except OSError:
        return []


def _lines_from(path: Path, offset: int) -> list[bytes]:
    last: deque[bytes] = deque(maxlen=_TAIL_LINES)
    splitter = LineSplitter()
    file = OpenSegment(path, offset)
    try:
        while chunk := file.read_readable():
            splitter.feed(chunk)
            while (taken := splitter.pop()) is not None:
                last.append(taken[0])
    finally:
        file.close()
    rest = splitter.pop_rest()
    return [*last, rest[0]] if rest else list(last)
