"""Columns of an index: a value of every run in one piece, for an order of a hundred thousand runs or a condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from esper_otel.runs.entry import Listed
from esper_otel.runs.listed import NUMBERS, TEXTS, number_in, settings_in, told_in

STATE: Final = "state"
LAST_SEEN: Final = "last_seen_at"
TOLD: Final = ("host", "commit", "tags")

STORED: Final = (STATE, LAST_SEEN, *TOLD, *NUMBERS)
"""Columns of every index. The state is the outcome, right while a run is over; times are Unix times in microseconds."""

MOST_SETTINGS: Final = 64
"""Settings that have a column: those that the most runs have."""

Columns = dict[str, list[Any]]


def values_in(listed: Listed | None) -> dict[str, Any]:
    """The values of one run that are not None, by column or setting."""
    if listed is None:
        return {}
    told = told_in(listed)
    found = {name: value for name, value in settings_in(listed, told).items() if name not in _NOT_SETTINGS}
    found |= {STATE: listed.summary.outcome, LAST_SEEN: listed.summary.heard_us}
    found |= {name: told.get(name) for name in TOLD} | {name: number_in(listed, name) for name in NUMBERS}
    return {name: value for name, value in found.items() if value is not None}


def columns_of(
    names: Sequence[str],
    new: Callable[[str], Listed | None],
    known: Mapping[str, Mapping[str, Any]],
    is_known: set[str],
) -> Columns:
    """The columns of an index.

    Args:
        names: the runs, in their order.
        new: gives the list's part of the entry of a run that is not in ``known``.
        known: all columns that are known, by the names of the runs.
        is_known: the runs that ``known`` is about.
    """
    found: Columns = {column: [None] * len(names) for column in STORED}
    for column, values in known.items():
        found[column] = [values[name] if name in is_known else None for name in names]
    for number, name in enumerate(names):
        if name not in is_known:
            for column, value in values_in(new(name)).items():
                if column not in found:
                    found[column] = [None] * len(names)
                found[column][number] = value
    return found


def most_common(columns: Columns) -> tuple[Columns, bool]:
    """The columns without those of rare settings, and whether some were left out."""
    counts = Counter({name: len(each) - each.count(None) for name, each in columns.items() if name not in STORED})
    kept = {name for name, _ in counts.most_common(MOST_SETTINGS)}
    return {name: each for name, each in columns.items() if name in STORED or name in kept}, len(counts) > len(kept)


_NOT_SETTINGS: Final = frozenset({*TEXTS, *NUMBERS, "duration_s", "tags"})
"""Names that mean a column, also where a run has a setting of that name."""
