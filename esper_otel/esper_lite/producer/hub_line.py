"""Encoding of an event of esper-lite's hub as a line of our log: its content, with our run, rank and number.

The line bears no ``schema_version``: it was written by esper-lite's rules, in which 0 may mean "not measured", and
readers adapt it as they adapt esper-lite's own files. Types and fields that nobody here knows stay in it as they are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from esper_otel.log.salvage import Salvage, UnencodableError, plain, replace_number

_NONFINITE: Final = ("NaN", "Infinity")
"""Python's json spelling of non-finite numbers; a text that contains such a word only costs a second pass."""


class HubEvent:
    """An event on its way from the hub to the log; encoded by the log's own thread."""

    __slots__ = ("_event",)

    def __init__(self, event: Any) -> None:
        """Create it for ``event``, as the hub passes it; nothing is read yet."""
        self._event = event

    @property
    def event_type(self) -> str:
        """Name of the event's type."""
        kind = getattr(self._event, "event_type", None)
        return str(getattr(kind, "name", kind))

    def line(self, run_id: str, rank: int, seq: int) -> tuple[bytes, tuple[str, ...]]:
        """The line, newline included, and fields that could not be kept, as ``field: why``.

        Raises:
            TypeError: it is not an event of a hub.
        """
        fields = _fields(self._event) | {"event_type": self.event_type, "run_id": run_id, "rank": rank, "seq": seq}
        try:
            text = json.dumps(fields, default=_as_json, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            return _line_by_value(fields)
        if any(word in text for word in _NONFINITE):
            return _encoded(plain(json.loads(text))), ()
        return text.encode() + b"\n", ()


def _fields(event: Any) -> dict[str, Any]:
    """The non-empty envelope fields, and the payload as a dictionary, in the order of the envelope."""
    if not dataclasses.is_dataclass(event) or isinstance(event, type):
        raise TypeError(f"{type(event).__name__} is not an event of esper-lite's hub")
    found = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    if isinstance(found.get("timestamp"), datetime):
        found["timestamp"] = found["timestamp"].isoformat()
    found["data"] = _payload(found.get("data"))
    return {name: value for name, value in found.items() if value is not None}


def _payload(data: Any) -> Any:
    """esper-lite's own format of the event, without empty fields."""
    to_dict = getattr(data, "to_dict", None)
    if callable(to_dict):
        data = to_dict()
    elif dataclasses.is_dataclass(data) and not isinstance(data, type):
        data = dataclasses.asdict(data)
    if isinstance(data, Mapping):
        return {name: value for name, value in data.items() if value is not None}
    return data


def _as_json(value: Any) -> Any:
    """A number where it is one of numpy's or torch's, else its text, as esper-lite writes it.

    Raises:
        UnencodableError: it lies on a GPU, so that even printing it would wait for the device.
    """
    try:
        return replace_number(value)
    except UnencodableError:
        if hasattr(value, "device"):
            raise
        return str(value)


def _line_by_value(fields: Mapping[str, Any]) -> tuple[bytes, tuple[str, ...]]:
    """The rest of an event that has a value which cannot be written."""
    salvage = Salvage()
    kept = salvage.payload(dict(fields))
    return _encoded(kept), tuple(salvage.lost)


def _encoded(fields: dict[str, Any]) -> bytes:
    """Fields whose non-finite numbers are texts already; the line says so."""
    line = msgspec.json.encode(fields)
    if b'"NaN"' in line or b'Infinity"' in line:
        line = msgspec.json.encode(fields | {"nonfinite": True})
    return line + b"\n"
