"""Comparison of what ranks did in one process group: who did not enter a collective, who called another one.

Point-to-point calls are left out. The order of a group's collectives is the same on each rank, or the program is wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from esper_otel.collectives.flight import Dump, Entry

LATE_S: Final = 5.0
"""Time from which on a rank that did not enter a collective is called late: dumps of a healthy run differ by less."""

_DEFAULT: Final = "default_pg"
_COMPLETED: Final = "completed"

_SAME_SIZE: Final = frozenset(
    {
        *("all_reduce", "allreduce_coalesced", "broadcast", "_broadcast_oop", "reduce", "_reduce_oop"),
        *("_all_gather_base", "all_gather_into_tensor", "all_gather_single"),
        *("_reduce_scatter_base", "reduce_scatter_tensor", "reduce_scatter_single"),
    }
)
"""Operations in which every rank gives as many elements; others may be uneven."""


class NotEntered(msgspec.Struct, frozen=True):
    """A collective in which some ranks wait for others.

    Attributes:
        group: name of the process group.
        sequence: number of the collective in it.
        entry: the collective, of a rank that waits.
        missing: ranks that did not enter it.
        waiting: ranks that did.
        late_s: time from its first rank until a missing one was dumped, s.
        last: the last collective of each rank; None for a rank that entered none.
    """

    group: str
    sequence: int
    entry: Entry
    missing: list[int]
    waiting: list[int]
    late_s: float
    last: dict[int, Entry | None]


class Mismatch(msgspec.Struct, frozen=True):
    """A collective that ranks entered with different operations, sizes or types.

    Attributes:
        group: name of the process group.
        sequence: number of the collective in it.
        what: operation, number of elements, or type of elements.
        values: what each rank had.
        odd: ranks that differ from most; all where no value is that of most.
        entries: the collective of each rank.
    """

    group: str
    sequence: int
    what: str
    values: dict[int, str]
    odd: list[int]
    entries: dict[int, Entry]


_ByRank = dict[int, dict[int, Entry]]


def not_entered(dumps: Sequence[Dump]) -> NotEntered | None:
    """The oldest collective that ranks wait in; None if there is none."""
    found = [each for group, ranks in _groups(dumps).items() if (each := _behind(group[1], ranks, dumps)) is not None]
    return min(found, key=lambda each: each.entry.time_created_ns, default=None)


def mismatch(dumps: Sequence[Dump]) -> Mismatch | None:
    """The oldest collective that ranks disagree about; None if there is none."""
    found = [each for group, ranks in _groups(dumps).items() if (each := _differing(group[1], ranks)) is not None]
    return min(found, key=lambda each: min(entry.time_created_ns for entry in each.entries.values()), default=None)


def _groups(dumps: Sequence[Dump]) -> dict[tuple[str, str], _ByRank]:
    """Collectives by process group, rank and number; a member that entered none has an empty dict."""
    found: dict[tuple[str, str], _ByRank] = {}
    for dump in dumps:
        for entry in dump.entries:
            if not entry.is_p2p:
                found.setdefault(entry.process_group, {}).setdefault(dump.rank, {})[entry.collective_seq_id] = entry
    for group, ranks in found.items():
        for dump in dumps:
            if dump.rank in _members(group, dumps):
                ranks.setdefault(dump.rank, {})
    return found


def _members(group: tuple[str, str], dumps: Sequence[Dump]) -> frozenset[int]:
    """Known members of a group; gloo does not tell them, and the default group has everybody."""
    if group[1] == _DEFAULT:
        return frozenset(dump.rank for dump in dumps)
    return frozenset[int]().union(*(dump.members.get(group[0], ()) for dump in dumps))


def _behind(group: str, ranks: _ByRank, dumps: Sequence[Dump]) -> NotEntered | None:
    last = {rank: max(entries, default=0) for rank, entries in sorted(ranks.items())}
    least = min(last.values())
    missing = [rank for rank, number in last.items() if number == least]
    after = {rank: min((number for number in ranks[rank] if number > least), default=0) for rank in last}
    waiting = [rank for rank, number in after.items() if number]
    if not waiting:
        return None
    sequence = min(after[rank] for rank in waiting)
    waiting = [rank for rank in waiting if after[rank] == sequence]
    entry = min((ranks[rank][sequence] for rank in waiting), key=lambda each: each.time_created_ns)
    seen_ns = min(dump.written_ns for dump in dumps if dump.rank in missing)
    late_s = (seen_ns - entry.time_created_ns) / 1e9
    if late_s < LATE_S or any(ranks[rank][sequence].state == _COMPLETED for rank in waiting):
        return None  # the dump of the missing rank is older than its entry into the collective
    newest = {rank: ranks[rank].get(number) for rank, number in last.items()}
    return NotEntered(group, sequence, entry, missing, waiting, late_s, newest)


def _differing(group: str, ranks: _ByRank) -> Mismatch | None:
    common = set.intersection(*(set(entries) for entries in ranks.values()))
    for sequence in sorted(common):
        entries = {rank: ranks[rank][sequence] for rank in sorted(ranks)}
        for what, values in _compared(entries):
            if len(set(values.values())) > 1:
                return Mismatch(group, sequence, what, values, _odd(values), entries)
    return None


def _compared(entries: dict[int, Entry]) -> Iterator[tuple[str, dict[int, str]]]:
    yield "operation", {rank: entry.name for rank, entry in entries.items()}
    if next(iter(entries.values())).name in _SAME_SIZE:
        yield "type of elements", {rank: ", ".join(entry.input_dtypes) for rank, entry in entries.items()}
        yield "number of elements", {rank: str(sum(map(math.prod, e.input_sizes))) for rank, e in entries.items()}


def _odd(values: dict[int, str]) -> list[int]:
    usual, count = Counter(values.values()).most_common(1)[0]
    return [rank for rank, value in values.items() if value != usual or 2 * count <= len(values)]
