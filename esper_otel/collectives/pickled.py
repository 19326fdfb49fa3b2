"""Reading of pickles that hold plain data alone, without Python's interpreter of them.

PyTorch's C++ code writes its dumps as pickles. Python's loader would run whatever code a file names; here only the
operations are known that build a dict, list, tuple, text, number, boolean or None, and any other refuses the file. What
was built is bounded as well: a small file can refer to one list a million times.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, Final

MAX_VALUES: Final = 4_000_000
"""Values of a file, one that is referred to twice counted twice; a dump of 2,000 collectives has half a million."""

MAX_DEPTH: Final = 16

_Act = Callable[["_Builder", Any], object]


class RefusedError(ValueError):
    """A file that is no pickle of plain data."""


def plain_of(data: bytes) -> Any:
    """The value that ``data`` is the pickle of.

    Raises:
        RefusedError: it is damaged, holds anything but plain data, or is too large or too deep.
    """
    builder = _Builder()
    try:
        for operation, argument, _ in pickletools.genops(data):
            act = _ACTS.get(operation.name)
            if act is None:
                raise RefusedError(f"it has the pickle operation {operation.name}, which plain data does not need")
            act(builder, argument)
        (value,) = builder.stack
    except RefusedError:
        raise
    except Exception as error:  # whatever a damaged file makes of the parser
        raise RefusedError(f"it is no whole pickle: {type(error).__name__}: {error}") from None
    _refuse_large(value)
    return value


class _Builder:
    """The stack of a pickle and what it remembers."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self._marks: list[int] = []

    def mark(self) -> None:
        self._marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        start = self._marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def last(self, count: int) -> tuple[Any, ...]:
        if count > len(self.stack):
            raise ValueError("the stack is too short")
        found = tuple(self.stack[-count:])
        del self.stack[-count:]
        return found

    def extend(self, items: list[Any] | tuple[Any, ...]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("no list to add to")
        self.stack[-1].extend(items)

    def update(self, items: list[Any] | tuple[Any, ...]) -> None:
        if type(self.stack[-1]) is not dict:
            raise ValueError("no dict to add to")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in {str, int}:
                raise RefusedError("a key is neither text nor a whole number")
            self.stack[-1][key] = value

    def remember(self, number: int) -> None:
        self.memo[number] = self.stack[-1]


def _pushed(builder: _Builder, argument: Any) -> None:
    builder.stack.append(argument)


def _constant(value: Any) -> _Act:
    return lambda builder, _: builder.stack.append(value)


def _tuple(count: int) -> _Act:
    return lambda builder, _: builder.stack.append(builder.last(count))


def _nothing(_: _Builder, __: Any) -> None:
    """An operation that builds nothing."""


_ACTS: Final[dict[str, _Act]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"), _pushed),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": lambda builder, _: builder.stack.append([]),
    "EMPTY_DICT": lambda builder, _: builder.stack.append({}),
    "MARK": lambda builder, _: builder.mark(),
    "TUPLE": lambda builder, _: builder.stack.append(tuple(builder.since_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": lambda builder, _: builder.extend(builder.last(1)),
    "APPENDS": lambda builder, _: builder.extend(builder.since_mark()),
    "SETITEM": lambda builder, _: builder.update(builder.last(2)),
    "SETITEMS": lambda builder, _: builder.update(builder.since_mark()),
    "MEMOIZE": lambda builder, _: builder.remember(len(builder.memo)),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda builder, number: builder.remember(number)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda builder, number: builder.stack.append(builder.memo[number])),
}
"""Action of each operation; one that is not here can do more than build plain data."""


def _refuse_large(value: Any) -> None:
    waiting, count = [(value, 0)], 0
    while waiting:
        found, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_VALUES:
            raise RefusedError(f"it is deeper than {MAX_DEPTH} levels or has more than {MAX_VALUES} values")
        if isinstance(found, dict):
            waiting += [(each, depth + 1) for each in found.values()]
        elif isinstance(found, list | tuple):
            waiting += [(each, depth + 1) for each in found]
