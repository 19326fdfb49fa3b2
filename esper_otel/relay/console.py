"""Messages of a relay for people."""

from __future__ import annotations

import threading
from typing import Final

from esper_otel.text.terminal import one_line, write_line

_WAIT_S: Final = 0.5
"""Time limit of a message: standard error may be a pipe that nobody reads."""

_MAX_CAUSES: Final = 30
"""Maximum number of different messages of :func:`say_once`."""

_said: set[str] = set()

_printing = threading.Lock()
"""Held by the thread that prints; for as long as it is stuck, further messages are left out."""


def say(text: str) -> None:
    """One line to the console. Never raises and never waits for long: a full disk or pipe must not end the relay."""
    if not _printing.acquire(timeout=_WAIT_S):
        return
    try:
        printer = threading.Thread(target=_print, args=(text,), name="esper-relay-message", daemon=True)
        printer.start()
        printer.join(_WAIT_S)
    except RuntimeError:  # no thread can be started while the interpreter ends
        _print(text)


def say_once(cause: str, text: str) -> None:
    """Like :func:`say`, unless ``cause`` was reported before; several parts of a relay may notice one problem."""
    if cause in _said or len(_said) >= _MAX_CAUSES:
        return
    _said.add(cause)
    say(text)


def _print(text: str) -> None:
    try:
        write_line(f"esper-otel relay: {one_line(text)}")
    finally:
        _printing.release()
