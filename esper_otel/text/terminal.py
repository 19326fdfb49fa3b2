"""Safe text for terminals, and writing it without blocking."""

from __future__ import annotations

import os
import re
import sys
import threading
from contextlib import suppress
from typing import Final

_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters except tab and newline, and those that change the text direction."""


def printable(text: str) -> str:
    """``text`` with every character that controls a terminal escaped by its code point."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """``text`` as :func:`printable` makes it, in one line: what a log holds cannot pass for a message of ours."""
    return printable(text).replace("\n", "\\n")


def write_line(text: str) -> None:
    """Write ``text`` and a newline to standard error. Never raises; may block where standard error is a full pipe.

    Bypasses Python's buffer: text that a full disk or pipe rejects would stay there and block the interpreter's exit.
    """
    stream, own = sys.stderr, sys.__stderr__
    if stream is None:
        return
    if stream is not own:  # a notebook's, a test's, a program's own
        try:
            stream.write(f"{text}\n")
            stream.flush()
            return
        except Exception:  # it is closed, or broken
            if own is None:
                return
    with suppress(OSError, ValueError):  # there is nowhere left to say it
        os.write(own.fileno(), f"{text}\n".encode("utf-8", "replace"))


def write_line_within(text: str, wait_s: float) -> None:
    """:func:`write_line`, but return after ``wait_s`` at the latest; a thread may then still be blocked writing."""
    try:
        writer = threading.Thread(target=write_line, args=(text,), name="esper-otel-message", daemon=True)
        writer.start()
        writer.join(wait_s)
    except RuntimeError:  # no thread can be started while the interpreter ends
        write_line(text)
