"""Detection of lines that repeat an event already read.

While names migrate (``domains/dup``) the log contains an event under its old and its new name. Both lines carry the
same ``seq``, so a line whose ``seq`` is not beyond the last one of its rank is a repetition. Lines without ``seq``
(esper-lite's) are recognised by their event id among the latest few.
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypedDict

from esper_otel.log.envelope import Record

DUPLICATE: Final = "duplicate"
"""Reason of a line that repeats an event under its old or new name."""

WINDOW: Final = 1024
"""Event ids remembered for logs without ``seq``; their repetitions follow immediately."""


class DuplicatesState(TypedDict):
    """State needed to continue after a restart; plain JSON."""

    last_seq: dict[str, int]
    recent_ids: list[str]


class Duplicates:
    """Remembers the events seen, in constant memory."""

    def __init__(self, state: DuplicatesState | None = None) -> None:
        """Continue from ``state`` if given."""
        self._last_seq: dict[str, int] = dict(state["last_seq"]) if state else {}
        self._order: deque[str] = deque(state["recent_ids"] if state else ())
        self._ids = set(self._order)
        self._begin = DuplicatesState(last_seq={}, recent_ids=[])
        self._series = ""
        self._series_of: tuple[str | None, int] | None = None

    @property
    def state(self) -> DuplicatesState:
        """State to store together with the reader's positions."""
        return {"last_seq": dict(self._last_seq), "recent_ids": list(self._order)}

    @property
    def begin(self) -> DuplicatesState:
        """The first numbers and ids that were new, for :meth:`goes_on_with`; plain JSON."""
        return self._begin

    def goes_on_with(self, begin: DuplicatesState, state: DuplicatesState) -> bool:
        """Take what another remembers of the lines that follow, if they repeat none of those before them.

        False where they may: what the other, which did not know those before, took for new is then to be asked anew.
        """
        if any(first <= self._last_seq.get(series, -1) for series, first in begin["last_seq"].items()):
            return False
        if not self._ids.isdisjoint(begin["recent_ids"]):
            return False
        self._last_seq |= state["last_seq"]
        self._order = deque([*self._order, *state["recent_ids"]][-WINDOW:])
        self._ids = set(self._order)
        return True

    def is_repeated(self, record: Record) -> bool:
        """Return True if the event of ``record`` was seen before, and mark it as seen."""
        if record.seq is None:
            return self._is_known_id(record.event_id)
        if (record.run_id, record.rank) != self._series_of:
            self._series_of = record.run_id, record.rank
            self._series = f"{record.run_id or ''}/{record.rank}"
        last = self._last_seq.get(self._series)
        if record.seq <= (-1 if last is None else last):
            return True
        if last is None:
            self._begin["last_seq"][self._series] = record.seq
        self._last_seq[self._series] = record.seq
        return False

    def greatest_seq(self, rank: int) -> int:
        """The greatest number of ``rank`` seen so far, in any run; 0 for none."""
        return max((seq for series, seq in self._last_seq.items() if series.endswith(f"/{rank}")), default=0)

    def _is_known_id(self, event_id: str) -> bool:
        if not event_id:
            return False
        if event_id in self._ids:
            return True
        self._ids.add(event_id)
        self._order.append(event_id)
        if len(self._begin["recent_ids"]) < WINDOW:
            self._begin["recent_ids"].append(event_id)
        if len(self._order) > WINDOW:
            self._ids.discard(self._order.popleft())
        return False
