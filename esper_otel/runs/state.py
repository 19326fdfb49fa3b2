"""The state of a run in a list: from now, by the locks of its ranks, then by its log and its ``run.json``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import is_free
from esper_otel.log.manifest import read_or_tell
from esper_otel.log.reading.standing import RUNNING, STALLED_S, STOPPED, UNASKED, end_beside, standing
from esper_otel.runs.entry import Listed

STALLED: Final = "stalled"
UNKNOWN: Final = "unknown"
STATES: Final = (RUNNING, STALLED, *RUN_OUTCOMES, UNKNOWN)

_WORDS: Final = {STOPPED: "died", UNASKED: RUNNING}


def state_of(place: str, listed: Listed) -> str:
    """One of :data:`STATES`, of the run at ``place``.

    The locks of a run that ended are not asked: whoever continues it writes a line and a new ``run.json``.
    """
    outcome, status = listed.summary.outcome, listed.told.status
    if outcome and (status in RUN_OUTCOMES or not listed.locks):
        return outcome
    path = Path(place)
    if any(is_free(Series(path, rank).lock_path) is False for rank in listed.locks):
        last_us = listed.summary.progress_us or listed.summary.first_us  # one that has recorded nothing began then
        quiet_s = 0.0 if last_us is None else time.time() - last_us / 1e6
        return STALLED if quiet_s > STALLED_S else RUNNING
    if outcome:
        return outcome
    size = listed.told.world_size
    ranks = [rank for rank in listed.locks if size is None or rank < size]
    if status and ranks and (ended := end_beside(path, ranks, read_or_tell(path, lambda _: None))) is not None:
        return ended
    found = standing(path if path.is_dir() else None, {"status": status or None})
    word = _WORDS.get(found or "", found)
    return word if word in STATES else UNKNOWN
