"""Handling of values without a JSON form, so that one odd field never costs the rest of its event.

Numbers of numpy and 0-dim tensors on the CPU become plain numbers. A tensor on any other device is never read, since
reading it would wait for the device. Other values are dropped and named. Everything is recognised by what it
can do, not by its type: torch and numpy are not imported for telemetry's sake.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 32
"""Levels of nesting that are kept. The contract needs 4; deeper is a cycle or a mistake."""


class UnencodableError(TypeError):
    """A value has no JSON form; the message names the value and the reason."""


def replace_number(value: Any) -> Any:
    """The plain number of a numpy scalar or a CPU tensor without dimensions.

    Raises:
        UnencodableError: it is something else, a masked number, or it lives on another device.
    """
    name = type(value).__name__
    if getattr(value, "ndim", None) != 0 or not callable(getattr(value, "item", None)):
        raise UnencodableError(f"{name} has no JSON form")
    device = getattr(value, "device", "cpu")
    if str(getattr(device, "type", device)) != "cpu":
        raise UnencodableError(f"{name} on {device} would need a wait for the device; emit a number")
    if getattr(value, "mask", False):
        raise UnencodableError(f"{name} is masked: there is no value")
    number = value.item()
    if not isinstance(number, bool | int | float) and hasattr(number, "__float__"):
        return float(number)  # numpy's longdouble
    if not isinstance(number, bool | int | float):
        raise UnencodableError(f"{name} of {type(number).__name__} has no JSON form")
    return number


def plain(value: Any) -> Any:
    """``value`` (of parsed JSON) with non-finite floats as strings and lone surrogates replaced."""
    return Salvage().value(value, "")


class Salvage:
    """One pass over the values of one event. ``lost`` names the dropped ones, as ``field: why``."""

    def __init__(self) -> None:
        """Start without losses."""
        self.lost: list[str] = []

    def payload(self, payload: Any) -> Any:
        """The payload as JSON types; an object keeps its good fields."""
        return self.value(payload, "")

    def value(self, value: Any, path: str, depth: int = 0) -> Any:
        """``value`` as JSON types; None, with an entry in ``lost``, if it has no JSON form.

        Args:
            value: anything.
            path: dotted name of the place for the report.
            depth: levels above it.
        """
        if value is None or value is True or value is False:
            return value
        if depth > MAX_DEPTH:
            return self._lose(path, f"nested deeper than {MAX_DEPTH} levels")
        try:
            return self._convert(value, path, depth)
        except Exception as error:  # an object's own item(), iteration or encoding may raise anything
            return self._lose(path, str(error) or type(error).__name__)

    def _convert(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, Enum):
            return self.value(value.value, path, depth + 1)
        if isinstance(value, str):
            return valid_text(value)
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, int):
            return _int(value)
        if isinstance(value, msgspec.Struct):
            return self._struct(value, path, depth)
        if isinstance(value, dict):
            return self._mapping(value, path, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._sequence(value, path, depth)
        return self._convert_leaf(value, path, depth)

    def _convert_leaf(self, value: Any, path: str, depth: int) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            raise UnencodableError(f"{type(value).__name__} has no JSON form")
        if isinstance(value, msgspec.Raw):
            return value
        return self.value(replace_number(value), path, depth + 1)

    def _struct(self, value: msgspec.Struct, path: str, depth: int) -> dict[str, Any]:
        present = {name: getattr(value, name) for name in value.__struct_fields__}
        return self._mapping({name: item for name, item in present.items() if item is not None}, path, depth)

    def _mapping(self, value: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, item in value.items():
            place = f"{path}.{_place(key)}" if path else _place(key)
            name = self._key(key, place)
            if name is None:
                continue
            found = self.value(item, place, depth + 1)
            if found is not None or item is None:
                kept[name] = found
        return kept

    def _key(self, key: Any, place: str) -> str | None:
        key = key.value if isinstance(key, Enum) else key
        if isinstance(key, str):
            return valid_text(key)
        if isinstance(key, int | float) and not isinstance(key, bool):
            return str(key)
        self._lose(place, f"a key must be text, not {type(key).__name__}")
        return None

    def _sequence(self, value: Iterable[Any], path: str, depth: int) -> list[Any]:
        return [self.value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]

    def _lose(self, path: str, why: str) -> None:
        self.lost.append(f"{path or 'payload'}: {why}")


def _place(key: Any) -> str:
    """Name of a key in a report, kept short: a hostile key may be a megabyte or raise when printed."""
    return key[:80] if isinstance(key, str) else type(key).__name__


def valid_text(text: str) -> str:
    """Make ``str`` valid UTF-8: pairs of surrogates are joined, lone ones replaced."""
    text = str.__str__(text)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _float(value: float) -> float | str:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _int(value: int) -> int:
    number = int(value)
    # CPython refuses to print integers of more than 4,300 digits; asking for the text raises before anything is lost
    if number.bit_length() > 14_000:
        str(number)
    return number
