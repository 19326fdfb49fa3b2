"""A queue in C with a recorder for it, and what the encoder in Python writes for the same events."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from esper_otel.events import Event
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.writing.encoding import Encoding
from esper_otel.log.writing.losses import Losses, Speaker
from esper_otel.log.writing.slices import Slices
from esper_otel.native import core, state
from esper_otel.native.plan import packed_shape

RUN = 'run-"é'
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
is_asked_for = "CI" in os.environ and os.environ.get("ESPER_OTEL_NATIVE") != "0"
built = pytest.mark.skipif(core() is None and not is_asked_for, reason=f"the part in C is not in use: {state()}")


def slices(shift: tuple[int, int, int] = (0, 0, 0), refused: list[None] | None = None) -> Slices:
    """An empty queue; ``shift`` is the latest step of the clock, ``refused`` gets an entry for each refused event."""
    encoding = Encoding(RUN, 2, 0, legacy=None, legacy_repeats=False, losses=Losses(), speaker=Speaker())
    refuse = (lambda: None) if refused is None else (lambda: refused.append(None))
    return Slices(encoding, 64 * 1024**2, refuse, lambda items: items, lambda: (offset_ns(), *shift))


def offset_ns() -> int:
    return time.time_ns() - time.monotonic_ns()


def recorder(into: Slices, event: type[Event], *names: str, group: str = "A", severity: str | None = None) -> Any:
    """A recorder in C, for calls with ``names``; what it cannot copy is put into the queue as an event."""
    native = core().Recorder()
    native.shapes = {names: packed_shape(event.__struct_fields__, names)}
    native.slow = lambda **values: into.queue.put((event(**values), time.time_ns(), group, severity, None))
    into.bind(native, event, group, severity)
    return native.record


def taken(queue: Slices) -> list[tuple[bool, bytes]]:
    """Each line, without its newline, and whether it was encoded in C."""
    found = []
    while len(queue.queue):
        before = queue.queue.take(1, 16, 0, 0, 0)[0]  # one event at a time, which stays
        with queue.first() as (lines, _, _):
            found += [(isinstance(before, bytes), line) for line in lines.splitlines()]
    return found


def oracle(event: Event, line: bytes, seq: int, group: str = "A", severity: str | None = None) -> bytes:
    """The line of the encoder in Python for ``event``, at the time in ``line``."""
    text = line.partition(b'"timestamp":"')[2][:32].decode()
    microseconds = (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)
    envelope = Envelope(microseconds * 1000, group, severity, None, seq)
    return LineEncoder(RUN, 2).encode(event, envelope)[0].removesuffix(b"\n")
