"""Text for people on a terminal: what may stand in it, and how it gets there without holding anybody up."""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import Final

_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but for tab and newline, and those that turn the direction of writing."""


def printable(text: str) -> str:
    """``text`` with each character that a terminal obeys spelled out by its number."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def write_line(text: str) -> None:
    """Write ``text`` and a newline to standard error. Never raises; may block where standard error is a full pipe.

    Past Python's buffer: what a full disk or pipe refused would stay there and hold up the interpreter's end.
    """
    stream = sys.stderr
    if stream is None:
        return
    try:
        own = sys.__stderr__
        if own is None or stream is not own:  # a notebook's, or a test's
            stream.write(f"{text}\n")
            stream.flush()
            return
        os.write(own.fileno(), f"{text}\n".encode("utf-8", "replace"))
    except (OSError, ValueError):
        return  # there is nowhere left to say it


def write_line_within(text: str, wait_s: float) -> None:
    """:func:`write_line`, but go on after ``wait_s`` at the latest; a thread may then still be stuck with it."""
    try:
        writer = threading.Thread(target=write_line, args=(text,), name="esper-otel-message", daemon=True)
        writer.start()
        writer.join(wait_s)
    except RuntimeError:  # no thread can be started while the interpreter ends
        write_line(text)
