"""Tolerant reading of single JSON values: numbers may be text, other types must match."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from msgspec import inspect


class Refused(enum.Enum):
    """A value that does not fit its type; None would mean that nothing was measured."""

    VALUE = "refused"


REFUSED: Final = Refused.VALUE


class Findings:
    """Values that did not fit, by dotted path within the payload.

    Attributes:
        unknown: names that no field goes by.
        mistyped: fields whose value does not fit their type.
    """

    def __init__(self) -> None:
        """Start without findings."""
        self.unknown: list[str] = []
        self.mistyped: list[str] = []


Converter = Callable[[object, str, Findings], object]
"""Turns a JSON value into a field's value or REFUSED; takes the value, its path and where to list what is inside it."""


def number(value: object, path: str, findings: Findings) -> object:
    """Read a number, also given as text: esper-lite prints numpy scalars as strings; non-finite numbers have names."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return REFUSED
    try:
        return float(value)
    except (ValueError, OverflowError):
        return REFUSED


def _int(value: object, path: str, findings: Findings) -> object:
    if isinstance(value, bool):
        return REFUSED
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else REFUSED
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return REFUSED
    return REFUSED


def _bool(value: object, path: str, findings: Findings) -> object:
    return value if isinstance(value, bool) else REFUSED


def _str(value: object, path: str, findings: Findings) -> object:
    return value if isinstance(value, str) else REFUSED


_NONFINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def _any(value: object, path: str, findings: Findings) -> object:
    """Anything; where the type does not say what is meant, the names of non-finite numbers are taken as numbers."""
    if isinstance(value, dict):
        return {name: _any(inner, path, findings) for name, inner in value.items()}
    if isinstance(value, list):
        return [_any(inner, path, findings) for inner in value]
    return _NONFINITE.get(value, value) if isinstance(value, str) else value


LEAVES: Final[dict[type[inspect.Type], Converter]] = {
    inspect.FloatType: number,
    inspect.IntType: _int,
    inspect.BoolType: _bool,
    inspect.StrType: _str,
    inspect.AnyType: _any,
}
"""Readers of simple values, by the field's declared type."""
