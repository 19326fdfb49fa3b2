"""Text from logs on a terminal: control characters are shown, not obeyed."""

from __future__ import annotations

import re
from typing import Final

_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but for tab and newline, and those that turn the direction of writing."""


def printable(text: str) -> str:
    """``text`` with each character that a terminal obeys spelled out by its number."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
