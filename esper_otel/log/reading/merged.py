"""Events in a line that holds more than one, or the rest of one: a writer was killed in the middle of a line."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Final

from esper_otel.log.envelope import BadLine, Record

_BEGINS: Final = re.compile(rb'\{\s*"event_')
"""The start of an event; inside a text of another its quotes would be escaped."""

_MOST_TRIED: Final = 64


def events_in(line: bytes, decode: Callable[[bytes], Record | BadLine]) -> list[Record | BadLine]:
    """The events at the end of ``line`` and what stands in front of them; empty where there are none."""
    found: list[Record | BadLine] = []
    while (start := _start_of_last(line, decode)) is not None:
        found.append(decode(line[start:]))
        line = line[:start]
    if found and line.strip():
        found.append(decode(line))
    return found[::-1]


def _start_of_last(line: bytes, decode: Callable[[bytes], Record | BadLine]) -> int | None:
    """Position of the first event that ends with the line."""
    starts = (match.start() for match in islice(_BEGINS.finditer(line), _MOST_TRIED))
    return next((start for start in starts if isinstance(decode(line[start:]), Record)), None)
