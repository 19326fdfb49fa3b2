"""Noticing headers that the exporters do not understand, without saying what stands in them."""

from __future__ import annotations

import logging
from typing import Final

_LOGGER: Final = "opentelemetry.util.re"
"""Where the exporters say that they do not understand a header, and repeat it."""

PROBLEM: Final = (
    "an entry of OTEL_EXPORTER_OTLP_HEADERS (or of a signal's own) is left out: expected name=value, with commas"
    " between entries and special characters percent-encoded. It is not shown, since it may be a secret"
)


class BadHeaders(logging.Handler):
    """Notes that a header was refused. The message goes no further: it holds the header, which is often a token."""

    def __init__(self) -> None:
        """Listen from now on."""
        super().__init__()
        self.seen = False
        self._logger = logging.getLogger(_LOGGER)
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take note."""
        self.seen = True

    def problems(self) -> list[str]:
        """What there is to say to people."""
        return [PROBLEM] if self.seen else []
