"""OTLP's protobuf messages of attributes as bytes, made without building message objects.

Building a Python object for every attribute only to serialise it at once costs ten times what the bytes do. Field
numbers are those of opentelemetry-proto 1.x (``common/v1/common.proto``); a test compares every kind of value with
OpenTelemetry's own encoder.
"""

from __future__ import annotations

import struct
from typing import Final

from esper_otel.relay.event_attributes import AttributeValue

ATTRIBUTES_TAG: Final = b"\x32"
"""``repeated KeyValue attributes = 6`` of a log record."""

DOUBLE: Final = struct.Struct("<d")
FIXED64: Final = struct.Struct("<Q")

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
    """A field whose content says its length."""
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


def attribute(key: str, value: AttributeValue) -> bytes:
    """One attribute of a log record, tag included."""
    return delimited(ATTRIBUTES_TAG, key_field(key) + delimited(_VALUE, any_value(value)))


def key_field(key: str) -> bytes:
    """The ``key`` of an attribute."""
    return delimited(_KEY, key.encode("utf-8", "replace"))


def text_value(tag: bytes, text: str) -> bytes:
    """A field that is an ``AnyValue`` with a text."""
    encoded = text.encode("utf-8", "replace")
    length = varint(len(encoded))
    return b"%b%b\x0a%b%b" % (tag, varint(1 + len(length) + len(encoded)), length, encoded)


def text_attribute(key: bytes, text: str) -> bytes:
    """:func:`attribute` for a text that is new each time; ``key`` is a :func:`key_field`."""
    value = text_value(_VALUE, text)
    return b"%b%b%b%b" % (ATTRIBUTES_TAG, varint(len(key) + len(value)), key, value)


def double_prefix(key: str) -> bytes:
    """All of a floating-point attribute but its last 8 bytes, the number."""
    content = key_field(key) + _DOUBLE_VALUE
    return ATTRIBUTES_TAG + varint(len(content) + DOUBLE.size) + content
