"""The cause of the end of this process: its uncaught exception, or the status that it gave to ``sys.exit()``.

Python hands an uncaught exception to ``sys.excepthook``, but not SystemExit, which it drops before anything registered
with atexit runs. So the argument of ``sys.exit()`` is noted, and believed if the main program did end by an exception:
one that somebody catches ends nothing.
"""

from __future__ import annotations

import builtins
import dis
import functools
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Literal, NoReturn

Outcome = Literal["finished", "failed", "interrupted", "died"]

MAIN_MODULES: Final = frozenset({"__main__", "runpy"})
"""Modules of the outermost frame of a program: a script, and ``python -m``."""

UNKNOWN_STATUS: Final = "the program ended by SystemExit; its status is not known"
"""Detail where neither our ``sys.exit()`` nor a hook saw the end, as with ``raise SystemExit(…)`` by hand."""


class _Exit:
    """The state of this module: the main program, and the argument of the last ``sys.exit()`` of the main thread."""

    main: FrameType | None = None
    code: Any = None
    is_noted = False


def note_exits() -> None:
    """Note ``sys.exit()`` and ``exit()`` from now on. ``sys.exit(main())`` is looked up before ``main()`` runs."""
    sys.exit = _noting(sys.exit)
    quitter: Any = type(getattr(builtins, "exit", None))
    if quitter.__name__ == "Quitter":  # of site; other shells have their own
        quitter.__call__ = _noting(quitter.__call__, position=1)


def watch_main() -> None:
    """Remember the main program, in order to see later how it ended."""
    main = _outermost(sys._current_frames().get(threading.main_thread().ident or 0))
    if main is not None and main.f_globals.get("__name__") in MAIN_MODULES:
        _Exit.main = main


def failure() -> tuple[Outcome, str] | None:
    """Outcome and cause of the end of the process, from atexit; None for a regular end, or if it has not ended."""
    if _Exit.main is not None and not _broke_off(_Exit.main):
        return None
    if _Exit.is_noted:
        return failure_of(SystemExit(_Exit.code))
    error = getattr(sys, "last_value", None)  # set before the hook for exceptions, which the program may have replaced
    if isinstance(error, BaseException):
        return failure_of(error)
    return ("interrupted", UNKNOWN_STATUS) if _Exit.main is not None else None


def failure_of(error: BaseException) -> tuple[Outcome, str] | None:
    """Outcome and text of a run that ``error`` ends; None for SystemExit with status 0."""
    if isinstance(error, SystemExit) and (error.code is None or (isinstance(error.code, int) and error.code == 0)):
        return None
    outcome: Outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    return outcome, f"{type(error).__name__}: {_text(error)}"[:500]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # whatever a foreign object raises: the program's own exception must be printed
        return "without a text"


def _noting(original: Callable[..., NoReturn], position: int = 0) -> Callable[..., NoReturn]:
    """``original`` with a look at its argument."""

    @functools.wraps(original)
    def leave(*args: Any, **kwargs: Any) -> NoReturn:
        if threading.current_thread() is threading.main_thread():  # in another one it ends that thread
            _Exit.code = args[position] if len(args) > position else kwargs.get("code")
            _Exit.is_noted = True
        original(*args, **kwargs)

    return leave


def _broke_off(main: FrameType) -> bool:
    """Return True if the frame ended by an exception: its last instruction is then no return."""
    if _outermost(sys._getframe()) is main:
        return False  # it has not ended
    return not dis.opname[main.f_code.co_code[main.f_lasti]].startswith("RETURN_")


def _outermost(frame: FrameType | None) -> FrameType | None:
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame
