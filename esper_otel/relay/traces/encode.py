"""A finished span as the bytes of its protobuf message (``Span`` of opentelemetry-proto 1.x).

Most attributes of a span identify its place and repeat thousands of times: they are looked up.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status

from esper_otel.relay.encoding.attributes import AttributeValue
from esper_otel.relay.encoding.wire import DOUBLE, attribute, delimited, double_prefix

MAX_KNOWN: Final = 4_096
"""Attributes that are remembered."""

_ATTRIBUTES: Final = b"\x4a"  # attributes = 9
_IDS: Final = struct.Struct(">2sQQ2sQ")  # trace_id = 1 of 16 bytes, span_id = 2 of 8
_PARENT: Final = struct.Struct(">2sQ")  # parent_span_id = 4
_KIND: Final = b"\x30"  # kind = 6
_TIMES: Final = struct.Struct("<cQcQ")  # start_time_unix_nano = 7, end_time_unix_nano = 8, both fixed64
_NAME: Final = b"\x2a"  # name = 5
_LINKS: Final = b"\x6a"  # links = 13
_STATUS: Final = b"\x7a"  # status = 15
_LOCAL: Final = b"\x00\x01\x00\x00"  # it is known whether the parent is remote, and it is not
_SPAN_FLAGS: Final = b"\x85\x01" + _LOCAL  # flags = 16, fixed32
_LINK_FLAGS: Final = b"\x35" + _LOCAL  # flags = 6, fixed32
_LOW: Final = 2**64 - 1


def encode_span(span: ReadableSpan) -> bytes:
    """``span`` as its message. It is one of ours: no events, nothing dropped, its parent and links in this process."""
    context, parent = span.context, span.parent
    assert context is not None
    parts = [
        _ids(context),
        b"" if parent is None else _PARENT.pack(b"\x22\x08", parent.span_id),
        delimited(_NAME, span.name.encode("utf-8", "replace")),
        _KIND,
        bytes((span.kind.value + 1,)),  # 0 is "unspecified" there
        _TIMES.pack(b"\x39", span.start_time, b"\x41", span.end_time),
    ]
    parts += [_attribute(key, value) for key, value in _attributes_of(span).items()]
    parts += [_link(link) for link in span.links]
    parts += (_status(span.status), _SPAN_FLAGS)
    return b"".join(parts)


def _attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def _ids(context: SpanContext) -> bytes:
    trace_id = context.trace_id
    return _IDS.pack(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", context.span_id)


def _attribute(key: str, value: AttributeValue) -> bytes:
    if isinstance(value, float):
        return _float_prefix(key) + DOUBLE.pack(value)
    if isinstance(value, tuple):
        return attribute(key, value, _ATTRIBUTES)
    return _known_attribute(key, value)


@lru_cache(MAX_KNOWN)
def _float_prefix(key: str) -> bytes:
    return double_prefix(key, _ATTRIBUTES)


@lru_cache(MAX_KNOWN, typed=True)  # True equals 1
def _known_attribute(key: str, value: str | bool | int) -> bytes:
    return attribute(key, value, _ATTRIBUTES)


def _link(link: Link) -> bytes:
    return delimited(_LINKS, _ids(link.context) + _LINK_FLAGS)


def _status(status: Status) -> bytes:
    message = b"" if status.description is None else delimited(b"\x12", status.description.encode("utf-8", "replace"))
    code = status.status_code.value
    return delimited(_STATUS, message + (b"\x18" + bytes((code,)) if code else b""))
