"""Values that no field was made for, and events that carry them."""

import datetime
import decimal
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy

from esper_otel.events import EVENT_TYPES, Event


class Hostile:
    """An object that raises whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return object.__getattribute__(self, name)
        raise ZeroDivisionError(name)

    def __str__(self) -> str:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise ZeroDivisionError

    def __iter__(self) -> Iterator[Any]:
        raise ZeroDivisionError

    def __float__(self) -> float:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 1


def nested(levels: int, *, of_dicts: bool = False) -> Any:
    """A list in a list in a list, or dicts."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if of_dicts else [value]
    return value


def cyclic() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


def torch_values() -> list[Any]:
    """Tensors; torch takes seconds to import."""
    import torch

    return [
        torch.tensor(math.nan),
        torch.ones(3),
        torch.tensor(1.5, requires_grad=True),
        torch.empty(1, device="meta")[0],
    ]


def odd_values(*, with_torch: bool = True) -> list[Any]:
    """Made anew for each caller."""
    return [
        *(torch_values() if with_torch else []),
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        -(10**5000),
        2**64,
        True,
        "",
        "x" * 1_000_000,
        "\ud800 half a pair",
        "line\nbreak \x00 \u2028",
        b"bytes",
        bytearray(b"more"),
        memoryview(b"view"),
        numpy.float32(0.5),
        numpy.arange(4),
        decimal.Decimal("1.5"),
        datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        1 + 2j,
        {1, 2},
        range(3),
        object(),
        Hostile(),
        {Hostile(): Hostile()},
        {("a", 1): 1, None: 2, 3: 4},
        nested(100_000),
        nested(100_000, of_dicts=True),
        cyclic(),
        lambda: None,
        type,
        {"deep": [{"er": {"values": [math.nan, b""]}}]},
    ]


def event_with(kind: type[Event], value: Any, field: str | None = None) -> Event:
    """An event of ``kind`` whose required fields, or ``field`` with them, hold ``value``; nothing checks types."""
    required = {each.name: value for each in msgspec.structs.fields(kind) if each.required}
    return kind(**{**required, **({field: value} if field else {})})


def odd_events() -> Iterator[Event]:
    """Every event type of the contract with an odd value in every field at once, each value in turn."""
    values = odd_values()
    for number, kind in enumerate(EVENT_TYPES.values()):
        names = kind.__struct_fields__
        yield kind(**{name: values[(number + place) % len(values)] for place, name in enumerate(names)})
    yield from (event_with(next(iter(EVENT_TYPES.values())), value) for value in values)
