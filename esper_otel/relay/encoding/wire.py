"""OTLP's protobuf messages of attributes as bytes, made without building message objects.

Building a Python object for every attribute only to serialise it at once costs ten times what the bytes do. Field
numbers are those of opentelemetry-proto 1.x (``common/v1/common.proto``); a test compares every kind of value with
OpenTelemetry's own encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from esper_otel.relay.encoding.attributes import AttributeValue

ATTRIBUTES_TAG: Final = b"\x32"
"""``repeated KeyValue attributes = 6`` of a log record."""

DOUBLE: Final = struct.Struct("<d")

_KEY: Final = b"\x0a"
_VALUE: Final = b"\x12"
_DOUBLE_VALUE: Final = b"\x12\x09\x21"  # value = 2: a message of 9 bytes, double_value = 4


def varint(number: int) -> bytes:
    """``number``, at least 0, in groups of 7 bits, least first."""
    return _SHORT[number] if number < 0x4000 else _varint(number)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SHORT: Final = tuple(_varint(number) for number in range(0x4000))
"""The length of almost everything."""


def delimited(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field."""
    return tag + varint(len(content)) + content


def any_value(value: AttributeValue) -> bytes:
    """``AnyValue`` that holds ``value``; a lone surrogate in a text becomes a question mark."""
    match value:
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case str():
            return delimited(b"\x0a", value.encode("utf-8", "replace"))
        case int():
            return b"\x18" + varint(value % 2**64)
        case float():
            return b"\x21" + DOUBLE.pack(value)
        case _:
            return delimited(b"\x2a", b"".join(delimited(b"\x0a", any_value(item)) for item in value))


def attribute(key: str, value: AttributeValue, tag: bytes = ATTRIBUTES_TAG) -> bytes:
    """One attribute, tag included; by default that of a log record."""
    return delimited(tag, key_field(key) + delimited(_VALUE, any_value(value)))


def key_field(key: str) -> bytes:
    """The ``key`` of an attribute."""
    return delimited(_KEY, key.encode("utf-8", "replace"))


def text_head(tag: bytes, length: int) -> bytes:
    """All of a field that is an ``AnyValue`` with a text but the text, which has ``length`` bytes."""
    inner = b"\x0a" + varint(length)
    return tag + varint(len(inner) + length) + inner


class Heads(dict[int, bytes]):
    """Prefix of a field's content by the content's length in bytes, for fields with few lengths."""

    def __init__(self, head_of: Callable[[int], bytes]) -> None:
        """``head_of`` makes it."""
        super().__init__()
        self._head_of = head_of

    def __missing__(self, length: int) -> bytes:
        """Make it; remembered are lengths up to 16 KiB."""
        head = self._head_of(length)
        if length < len(_SHORT):
            self[length] = head
        return head


def text_attribute_head(key: bytes, length: int) -> bytes:
    """All of :func:`attribute` but its text, which has ``length`` bytes; ``key`` is a :func:`key_field`."""
    head = key + text_head(_VALUE, length)
    return ATTRIBUTES_TAG + varint(len(head) + length) + head


def double_prefix(key: str, tag: bytes = ATTRIBUTES_TAG) -> bytes:
    """All of a floating-point attribute but its last 8 bytes, the number."""
    content = key_field(key) + _DOUBLE_VALUE
    return tag + varint(len(content) + DOUBLE.size) + content
