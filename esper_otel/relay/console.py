"""What a relay says to people."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """One line to the console."""
    print(f"esper-otel relay: {text}", file=sys.stderr, flush=True)
