"""Cached encoders for event attributes: of one field, or of several at once.

Texts, flags and small numbers come out of a table, floats are packed by one call.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from operator import getitem
from typing import Any, Final

import msgspec

from esper_otel.relay.encoding.attributes import attribute_value, cut_text, json_text
from esper_otel.relay.encoding.wire import attribute, double_prefix

MAX_CACHED_VALUES: Final = 512
"""Different values in one field's table before it is cleared."""

OF_FEW_VALUES: Final = frozenset({str, bool})
_PLAIN_JSON: Final = frozenset({float, int, bool})
_JSON: Final = msgspec.json.Encoder()


class SingleValues(dict[Any, bytes]):
    """The attributes of one field's texts, flags or integers, by value; one that was not met before is encoded.

    All values must be of one type.
    """

    def __init__(self, key: str) -> None:
        """``key`` is the attribute's name."""
        super().__init__()
        self._key = key

    def __missing__(self, value: Any) -> bytes:
        """Encode ``value`` and remember it."""
        encoded = attribute(self._key, attribute_value(value))
        if len(self) >= MAX_CACHED_VALUES:
            self.clear()  # of a number that counts up, the ones met first never come again
        self[value] = encoded
        return encoded


class Texts(dict[tuple[Any, ...], bytes]):
    """The attributes of several texts and flags of one shape, by their combination."""

    def __init__(self, keys: Sequence[str]) -> None:
        """``keys`` are the attributes' names."""
        super().__init__()
        self._singles = [SingleValues(key) for key in keys]

    def __missing__(self, values: tuple[Any, ...]) -> bytes:
        """Encode ``values``, one for each key, and remember them."""
        encoded = b"".join([single[value] for single, value in zip(self._singles, values, strict=True)])
        if len(self) >= MAX_CACHED_VALUES:
            self.clear()
        self[values] = encoded
        return encoded


class Floats:
    """Several floats of one shape, packed in one call: each behind the bytes that name it."""

    def __init__(self, keys: Sequence[str]) -> None:
        prefixes = [double_prefix(key) for key in keys]
        self._pack = struct.Struct("<" + "".join(f"{len(prefix)}sd" for prefix in prefixes)).pack
        self._template: list[Any] = [None] * (2 * len(keys))
        self._template[::2] = prefixes

    def encode(self, values: Sequence[float]) -> bytes | None:
        """The attributes, or None when one of them is no finite number."""
        try:
            if not math.isfinite(sum(values)):
                return None
            arguments = self._template
            arguments[1::2] = values
            return self._pack(*arguments)
        except (TypeError, OverflowError, struct.error):  # not the declared type: only in an event made in this process
            return None


def table(keys: Sequence[str], kind: type[Any]) -> Callable[[dict[Any, Any]], bytes]:
    """Encoder of a map of values other than floats."""
    if kind in OF_FEW_VALUES:
        texts = Texts(keys)
        return lambda mapping: texts[tuple(mapping.values())]
    singles = [SingleValues(key) for key in keys]
    return lambda mapping: b"".join(map(getitem, singles, mapping.values()))


def packer(key: str, kind: type[Any] | None, mapping: dict[Any, Any]) -> Callable[[dict[Any, Any]], bytes]:
    """Encoder of a whole map as one attribute. Values that JSON accepts are not converted first."""
    if kind not in _PLAIN_JSON or not all(type(name) is str and name.isascii() for name in mapping):
        return lambda mapping: attribute(key, json_text(mapping))

    def pack(mapping: dict[Any, Any]) -> bytes:
        try:
            is_plain = math.isfinite(sum(mapping.values()))
        except (TypeError, OverflowError):  # not the declared type: only in an event made in this process
            is_plain = False
        return attribute(key, cut_text(_JSON.encode(mapping).decode()) if is_plain else json_text(mapping))

    return pack
