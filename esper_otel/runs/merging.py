"""Summaries of the logs of one run as one: of an archive, where each rank's log has its own."""

from __future__ import annotations

import math
from collections.abc import Iterable

from esper_otel.runs.summary import IS_BETTER_HIGH, OUTCOMES, Moment, Progress

_Extent = tuple[float, float, Moment]
_IS_HIGH = {
    f"{cls.event_type}.{field}": IS_BETTER_HIGH[name] for name, sources in OUTCOMES.items() for cls, field in sources
}


def merged(each: Iterable[Progress]) -> Progress:
    """The progress of a run from that of its logs, as if one reader had read them all."""
    found = Progress()
    for progress in each:
        found.ranks |= {
            rank: life
            for rank, life in progress.ranks.items()
            if rank not in found.ranks or life.heard_us > found.ranks[rank].heard_us
        }
        firsts = [first for first in (found.first_us, progress.first_us) if first is not None]
        found.first_us = min(firsts, default=None)
        found.rounds = _greater(found.rounds, progress.rounds)
        found.updates = _greater(found.updates, progress.updates)
        for key, extent in progress.extents.items():
            found.extents[key] = _extent(key, found.extents.get(key), extent)
        for name, (value, moment) in progress.settings.items():
            if name not in found.settings or moment >= found.settings[name][1]:
                found.settings[name] = value, moment
    return found


def _extent(key: str, known: _Extent | None, new: _Extent) -> _Extent:
    if known is None:
        return new
    newest = max(known, new, key=lambda extent: extent[2])
    finite = [extent[0] for extent in (known, new) if math.isfinite(extent[0])]
    best = (max if _IS_HIGH.get(key, True) else min)(finite) if finite else known[0]
    return best, newest[1], newest[2]


def _greater(known: int | None, new: int | None) -> int | None:
    return known if new is None else max(new, known or 0)
