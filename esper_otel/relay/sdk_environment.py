"""Protection from variables that OpenTelemetry's packages read on import.

This runs before any of them is imported: a bad limit would end the import, and with it the relay, in a traceback.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import MutableMapping
from typing import Final

from esper_otel.relay.console import say_once
from esper_otel.text.redaction import redacted_text

_LIMIT: Final = re.compile(r"OTEL_[A-Z_]+_LIMIT")
_CONTEXT: Final = "OTEL_PYTHON_CONTEXT"
"""Names a class that the import loads; the relay keeps nothing in a context."""

BAD_LIMITS: Final[dict[str, str]] = {}
"""Limits removed from the environment, with their values."""


class _OneLine(logging.Handler):
    """Reports warnings of OpenTelemetry's packages once and without tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Report the first line."""
        text = redacted_text((record.getMessage().splitlines() or [""])[0])
        say_once(f"{record.name} {text}", f"{record.name}: {text}")


def prepare(environ: MutableMapping[str, str]) -> None:
    """Remove variables that would break the import, and keep the packages from printing."""
    for name in [name for name in environ if _LIMIT.fullmatch(name)]:
        if not environ[name].strip().isdecimal():
            BAD_LIMITS[name] = environ.pop(name)
    environ.pop(_CONTEXT, None)
    logger = logging.getLogger("opentelemetry")
    if not logger.handlers:
        logger.addHandler(_OneLine(logging.WARNING))
        logger.propagate = False


prepare(os.environ)
