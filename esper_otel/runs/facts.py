"""Facts about a run whose log was read: enough to tell that a query finds nothing in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from esper_otel.log.envelope import BadLine, Record

MAX_NAMES: Final = 64
"""Run ids and event types that are remembered of one run; a log with more of them is always read."""

OF_PLACE: Final = ""
"""Among the run ids: lines that name no run and get the name of their directory."""


class Facts(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        signature: names, sizes and times of its logs when it was read.
        run_ids: which runs its lines name.
        types: which event types they have.
        first_us: earliest time of an event, Unix time in microseconds; None where no line has a time.
        last_us: latest time of an event.
        lost: stretches that gave no event, by reason.
    """

    signature: str
    run_ids: tuple[str, ...]
    types: tuple[str, ...]
    first_us: int | None
    last_us: int | None
    lost: dict[str, int]


class Seen(msgspec.Struct, frozen=True):
    """Part of a run's facts, gathered of a part of its lines; the fields are those of :class:`Facts`."""

    run_ids: set[str]
    types: set[str]
    first_us: int | None
    last_us: int | None
    lost: dict[str, int]


class Observed:
    """Gathers the facts of a run line by line.

    Attributes:
        lost: stretches that gave no event, by reason.
    """

    def __init__(self, lost: Mapping[str, int], known: Facts | None = None) -> None:
        """Begin behind a part that ``lost`` so many stretches, and of which these facts are ``known``."""
        self.lost = dict(lost)
        self._run_ids: set[str] = set(known.run_ids if known is not None else ())
        self._types: set[str] = set(known.types if known is not None else ())
        self._first_us: int | None = known.first_us if known is not None else None
        self._last_us: int | None = known.last_us if known is not None else None

    def add(self, item: Record | BadLine) -> None:
        """Take one line, of whatever kind."""
        if isinstance(item, BadLine):
            self._run_ids.add(OF_PLACE)
            self.lost[item.reason] = self.lost.get(item.reason, 0) + 1
            return
        self._run_ids.add(item.run_id or OF_PLACE)
        self._types.add(item.event_type)
        at = item.timestamp_ns // 1000
        self._widen(at, at)

    def add_records(self, records: Sequence[Record]) -> None:
        """Take lines that hold events."""
        if not records:
            return
        self._run_ids.update({record.run_id or OF_PLACE for record in records})
        self._types.update({record.event_type for record in records})
        times = [record.timestamp_ns for record in records]
        self._widen(min(times) // 1000, max(times) // 1000)

    def join(self, other: Seen) -> None:
        """Take what was gathered elsewhere."""
        self._run_ids |= other.run_ids
        self._types |= other.types
        for reason, count in other.lost.items():
            self.lost[reason] = self.lost.get(reason, 0) + count
        if other.first_us is not None and other.last_us is not None:
            self._widen(other.first_us, other.last_us)

    @property
    def seen(self) -> Seen:
        """All that was gathered, for :meth:`join`."""
        return Seen(self._run_ids, self._types, self._first_us, self._last_us, self.lost)

    def _widen(self, first_us: int, last_us: int) -> None:
        if self._first_us is None or first_us < self._first_us:
            self._first_us = first_us
        if self._last_us is None or last_us > self._last_us:
            self._last_us = last_us

    def facts(self, signature: str) -> Facts | None:
        """Facts found under ``signature``; None where they are too many to keep."""
        if len(self._run_ids) > MAX_NAMES or len(self._types) > 4 * MAX_NAMES:
            return None
        names, types = tuple(sorted(self._run_ids)), tuple(sorted(self._types))
        return Facts(signature, names, types, self._first_us, self._last_us, self.lost)
