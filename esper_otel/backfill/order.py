"""The lines of a finished run in the order of their times, all ranks together.

A relay that follows a run sees its ranks side by side; read one after the other, the later ones would all be late.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Final

from esper_otel.log.codec import decode_with_event
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.layout import Source, resolve
from esper_otel.log.reading.follower import Follower

BATCH: Final = 500

Timed = tuple[int, Record | BadLine]
"""Unix time in ns at which a line counts, and the line."""


def lines_in_order(run: Path) -> Iterator[Timed]:
    """Every line of ``run``; the times never fall. Memory does not grow with the log.

    A log's own order is kept: a line that stands behind a newer one counts at the newer one's time. A single time
    that lies ahead of the next line's (a clock that was set while the run went on) counts as the next line's.

    Raises:
        FileNotFoundError: there is no log.
    """
    return heapq.merge(*(_timed(source) for source in resolve(run)), key=itemgetter(0))


def _timed(source: Source) -> Iterator[Timed]:
    newest_ns = 0
    held: Record | BadLine | None = None
    for item in _lines(source):
        if held is not None:
            own_ns = _time_ns(held, newest_ns)
            newest_ns = max(newest_ns, min(own_ns, _time_ns(item, own_ns)))
            yield newest_ns, held
        held = item
    if held is not None:
        yield max(newest_ns, _time_ns(held, newest_ns)), held


def _time_ns(item: Record | BadLine, otherwise_ns: int) -> int:
    return item.timestamp_ns if isinstance(item, Record) else otherwise_ns


def _lines(source: Source) -> Iterator[Record | BadLine]:
    follower = Follower(source, None, follow=False, decoder=decode_with_event)
    try:
        while batch := follower.read(BATCH):
            yield from batch
    finally:
        follower.close()
