"""Where the numbering of a rank's events stands, so that a run that goes on counts on."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.log.layout import COMPRESSED, Series
from esper_otel.log.lines import LineSplitter
from esper_otel.log.segment import READ_ERRORS, OpenSegment

_TAIL_BYTES: Final = 64 * 1024
_TAIL_LINES: Final = 8


class _Seq(msgspec.Struct):
    seq: int


_DECODER: Final = msgspec.json.Decoder(_Seq)


def last_seq(series: Series) -> int:
    """The greatest ``seq`` in the log of a rank; 0 for a new log or one that does not count."""
    segments = [series.active, *(path for _, path in sorted(series.closed().items(), reverse=True))]
    for path in segments:
        for line in reversed(_last_lines(path)):
            try:
                return _DECODER.decode(line).seq
            except msgspec.MsgspecError:
                continue  # torn, or not ours: the line before it may tell
    return 0


def _last_lines(path: Path) -> list[bytes]:
    """The last lines of a segment, at least one of them whole where there is one; none when it cannot be read."""
    wanted = _TAIL_BYTES
    try:
        while True:
            size = path.stat().st_size
            is_whole = path.suffix in COMPRESSED or wanted >= size
            lines = _lines_from(path, 0 if is_whole else size - wanted)
            if is_whole or len(lines) > 2:
                return lines
            wanted *= 4
    except READ_ERRORS:
        return []


def _lines_from(path: Path, offset: int) -> list[bytes]:
    last: deque[bytes] = deque(maxlen=_TAIL_LINES)
    splitter = LineSplitter()
    file = OpenSegment(path, offset)
    try:
        while chunk := file.read():
            splitter.feed(chunk)
            while (taken := splitter.pop()) is not None:
                last.append(taken[0])
    finally:
        file.close()
    rest = splitter.pop_rest()
    return [*last, rest[0]] if rest else list(last)
