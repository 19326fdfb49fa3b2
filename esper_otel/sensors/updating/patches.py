"""Replacement of functions of torch that reaches callers who imported them earlier, and can be undone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from types import CellType
from typing import Any

Function = Callable[..., Any]
Wrap = Callable[[Function], Function]
"""Gives the replacement of a function that it is handed."""


class Patches:
    """The functions that are replaced now."""

    def __init__(self) -> None:
        """Start without any."""
        self._undo: list[Callable[[], None]] = []

    def inside(self, function: Function, wrap: Wrap) -> bool:
        """Replace what the decorator around ``function`` calls; the function itself, wherever it is held, stays.

        Returns False where torch has no decorator around it.
        """
        cell = _decorated(function)
        if cell is None:
            return False
        original = cell.cell_contents
        replacement = cell.cell_contents = functools.wraps(original)(wrap(original))

        def undo() -> None:
            if cell.cell_contents is replacement:
                cell.cell_contents = original

        self._undo.append(undo)
        return True

    def attribute(self, holder: Any, name: str, wrap: Wrap, *others: Any) -> None:
        """Replace the attribute ``name`` of a module or class; nothing where it has none.

        ``others`` hold the same function: a pickled reference to it must find the replacement at its home.
        """
        original = vars(holder).get(name)
        if original is None:
            return
        replacement = functools.wraps(original)(wrap(original))
        for one in (holder, *others):
            self._put(one, name, original, replacement)

    def _put(self, holder: Any, name: str, original: Function, replacement: Function) -> None:
        if vars(holder).get(name) is not original:
            return
        setattr(holder, name, replacement)

        def undo() -> None:
            if vars(holder).get(name) is replacement:
                setattr(holder, name, original)

        self._undo.append(undo)

    def undo(self) -> None:
        """Put back everything that nobody else has replaced since."""
        while self._undo:
            self._undo.pop()()


def run_eagerly(function: Function, *, recursively: bool) -> Function:
    """Keep torch.compile from tracing the frame of ``function``, which it would do between two graphs of a caller.

    ``torch.compiler.disable`` does so too, but imports the compiler. Unknown versions of torch trace it.
    """
    with suppress(Exception):
        from torch._C._dynamo import eval_frame

        actions = eval_frame._FrameAction
        strategy = eval_frame._FrameExecStrategy(actions.SKIP, actions.SKIP if recursively else actions.DEFAULT)
        eval_frame.set_code_exec_strategy(function.__code__, strategy)
    return function


def _decorated(function: Function) -> CellType | None:
    """The cell in which ``torch.nn.utils.clip_grad``'s decorator keeps the function."""
    code = getattr(function, "__code__", None)
    if code is None or "func" not in code.co_freevars or function.__closure__ is None:
        return None
    cell: CellType = function.__closure__[code.co_freevars.index("func")]
    return cell if callable(cell.cell_contents) else None
