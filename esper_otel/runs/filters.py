"""Conditions on runs, as in ``--where 'best_reward > 5'``, and the order of a list."""

from __future__ import annotations

import difflib
import heapq
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from math import isfinite
from typing import Any, Final

import msgspec

from esper_otel.runs.listed import COLUMNS
from esper_otel.runs.rows import TIMES, Row, as_text, orders_of
from esper_otel.runs.state import STATES

_CONDITION: Final = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|!=|=|<|>|~)\s*([^=<>~].*?|)\s*", re.DOTALL)
_BY_NAME: Final = operator.attrgetter("run")
_QUOTES: Final = ("'", '"')

_PLAIN: Final = frozenset({int, float, type(None)})

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

    def is_met_by(self, found: Any) -> bool:
        """Return True if a run whose value is ``found`` meets it."""
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
        ValueError: it is none, or about a state that no run can be in.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"--where: {text!r} is no condition; write a column, one of = != < <= > >= ~, and a value, for example"
            f" 'best_reward > 5' or 'state = failed'. Columns: {', '.join(COLUMNS)}, and the names of settings"
        )
    value = found[3]
    is_quoted = len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]
    value = value[1:-1] if is_quoted else value
    if found[1] == "state" and found[2] in {"=", "!="} and value not in STATES:
        raise ValueError(f"--where: a run is never in the state {value!r}; states are {', '.join(STATES)}")
    return Condition(found[1], found[2], value)


def refuse_unknown(rows: Sequence[Row], columns: Iterable[str]) -> None:
    """Return if every one of ``columns`` is a column, or a setting of one of ``rows``.

    Raises:
        ValueError: one is not; the message has names like it.
    """
    for column in columns:
        if column in COLUMNS or not rows or rows[0].source.has_column(column):
            continue
        if any(column in row.settings for row in rows):
            continue
        known = [*COLUMNS, *sorted({name for row in rows for name in row.settings})]
        near = difflib.get_close_matches(column, known, n=3, cutoff=0.5)
        others = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"no run has {column!r}; {others}")


def meeting(rows: Sequence[Row], conditions: Sequence[Condition]) -> Sequence[Row]:
    """The rows that meet all ``conditions``."""
    for condition in conditions:
        values = orders_of(rows, condition.column)
        if condition.column in TIMES:
            values = list(map(as_text, values))
        rows = list(compress(rows, _verdicts(condition, values)))
    return rows


def _verdicts(condition: Condition, values: Iterable[Any]) -> Iterator[bool]:
    """Yield for each value whether it meets the condition; texts, such as states and hosts, repeat over many runs."""
    texts: dict[str, bool] = {}
    for value in values:
        if type(value) is not str:
            yield condition.is_met_by(value)
            continue
        if value not in texts:
            texts[value] = condition.is_met_by(value)
        yield texts[value]


def ordered(rows: Iterable[Row], order: str, limit: int = 0) -> list[Row]:
    """The first ``limit`` rows, or all, in ``order``: name of a column, with ``-`` before it the greatest first.

    Rows without a value come last, those of equal value by name.
    """
    column, is_greatest_first = order.removeprefix("-"), order.startswith("-")
    rows = [*rows]
    orders = orders_of(rows, column)
    values = list(zip(orders, rows, strict=True))
    keyed: list[tuple[Any, Row]]
    if {int}.issuperset(map(type, orders)):  # times, of a hundred thousand runs
        keyed, unknown = values, []
    elif _PLAIN.issuperset(map(type, orders)):  # numbers, of as many
        is_number = [value is not None and isfinite(value) for value in orders]
        keyed = list(compress(values, is_number))
        unknown = list(compress(rows, map(operator.not_, is_number)))
    else:
        every = [(_key(value), row) for value, row in values]
        keyed = [each for each in every if each[0] is not None]
        unknown = [row for key, row in every if key is None]
    found = [row for _, row in _sorted(keyed, limit, is_greatest_first)]
    if not limit or len(found) < limit:
        found += sorted(unknown, key=_BY_NAME)
    return found[: limit or None]


def _sorted(keyed: list[tuple[Any, Row]], limit: int, is_greatest_first: bool) -> list[tuple[Any, Row]]:
    """The first of ``keyed``, at least ``limit``; the others are left out before they cost names and an order."""
    if 0 < limit < len(keyed):
        first = (heapq.nlargest if is_greatest_first else heapq.nsmallest)(limit, [key for key, _ in keyed])
        is_first = operator.ge if is_greatest_first else operator.le
        keyed = [each for each in keyed if is_first(each[0], first[-1])]
    keyed = sorted(keyed, key=lambda each: each[1].run)
    keyed.sort(key=operator.itemgetter(0), reverse=is_greatest_first)
    return keyed


def _key(value: Any) -> tuple[int, float, str] | None:
    """Numbers before texts; a number that is not finite is none."""
    if value is None or value == []:
        return None
    number = _number(value)
    if number is None:
        return (1, 0.0, str(value))
    return (0, number, "") if isfinite(number) else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
