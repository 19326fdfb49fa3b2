"""Conditions on runs, as in ``--where 'best_reward > 5'``, and the order of a list."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from esper_otel.runs.listing import COLUMNS, Row

_CONDITION: Final = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|!=|=|<|>|~)\s*([^=<>~].*?|)\s*", re.DOTALL)
_QUOTES: Final = ("'", '"')

_ORDERED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Condition(msgspec.Struct, frozen=True):
    """A condition that a run meets or not; one that lacks the column never meets it.

    Attributes:
        column: name of a column or setting; ``tags`` is about each tag.
        comparison: one of ``= != < <= > >= ~``, the last for a text that contains another.
        value: the right side as text.
    """

    column: str
    comparison: str
    value: str

    def is_met_by(self, row: Row) -> bool:
        """Return True if ``row`` meets it."""
        found = row.value(self.column)
        if self.column == "tags":
            each = [self._holds(tag) for tag in found or []]
            return all(each) if self.comparison == "!=" else any(each)
        return found is not None and self._holds(found)

    def _holds(self, found: Any) -> bool:
        if self.comparison == "~":
            return self.value.lower() in str(found).lower()
        numbers = _number(found), _number(self.value)
        if None not in numbers:
            return _ORDERED[self.comparison](*numbers)
        return _ORDERED[self.comparison](str(found), self.value)


def condition_of(text: str) -> Condition:
    """The condition that ``text`` is.

    Raises:
        ValueError: it is none.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"--where: {text!r} is no condition; write a column, one of = != < <= > >= ~, and a value, for example"
            f" 'best_reward > 5' or 'state = failed'. Columns: {', '.join(COLUMNS)}, and the names of settings"
        )
    value = found[3]
    is_quoted = len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]
    return Condition(found[1], found[2], value[1:-1] if is_quoted else value)


def refuse_unknown(rows: Sequence[Row], columns: Iterable[str]) -> None:
    """Return if every one of ``columns`` is a column, or a setting of one of ``rows``.

    Raises:
        ValueError: one is not; the message has names like it.
    """
    for column in columns:
        if column in COLUMNS or not rows or any(column in row.settings for row in rows):
            continue
        known = [*COLUMNS, *sorted({name for row in rows for name in row.settings})]
        near = difflib.get_close_matches(column, known, n=3, cutoff=0.5)
        raise ValueError(f"no run has {column!r}; there are {', '.join(near or known)}")


def chosen(rows: Iterable[Row], conditions: Sequence[Condition], order: str) -> list[Row]:
    """The rows that meet all ``conditions``, in ``order``: name of a column, with ``-`` before it the greatest first.

    Runs without a value come last, those of equal value by name.
    """
    found = [row for row in rows if not conditions or all(condition.is_met_by(row) for condition in conditions)]
    found.sort(key=operator.attrgetter("run"))
    column = order.removeprefix("-")
    values = [row.order(column) for row in found]
    keyed: list[tuple[Any, Row]]
    if {int}.issuperset(map(type, values)):  # times, of a hundred thousand runs
        keyed = list(zip(values, found, strict=True))
    else:
        keyed = [(key, row) for row, value in zip(found, values, strict=True) if (key := _key(value)) is not None]
    keyed.sort(key=operator.itemgetter(0), reverse=order.startswith("-"))
    known = [row for _, row in keyed]
    if len(known) < len(found):
        kept = set(map(id, known))
        known += [row for row in found if id(row) not in kept]
    return known


def _key(value: Any) -> tuple[int, float, str] | None:
    """Numbers before texts; a number that is not finite is none."""
    if value is None or value == []:
        return None
    number = _number(value)
    if number is None:
        return (1, 0.0, str(value))
    return (0, number, "") if math.isfinite(number) else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
