"""Detection of headers that the exporters reject, without revealing their content."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final

from opentelemetry.util.re import parse_env_headers

from esper_otel.relay.otlp.environment import variable_of

_LOGGER: Final = "opentelemetry.util.re"
"""Logger with which the exporters report, and repeat, an invalid header."""

PROBLEM: Final = (
    "an entry of OTEL_EXPORTER_OTLP_HEADERS (or of a signal's own) is ignored: expected name=value, with commas"
    " between entries and special characters percent-encoded. It is not shown, since it may be a secret"
)


_HTTP_VALUE: Final = re.compile(r"[\t -~\xa0-\xff]*")
_GRPC_VALUE: Final = re.compile(r"[ -~]*")
_GRPC_NAME: Final = re.compile(r"[a-z0-9_.\-]+(?<!-bin)")
"""Names in lower case. Values of names that end in -bin are bytes, which no variable can hold."""


def header_problem(signal: str, env: Mapping[str, str], *, is_http: bool) -> str | None:
    """Problem with a header that is well-formed in the variable, and cannot be sent."""
    variable = variable_of(signal, "HEADERS", env)
    for name, value in parse_env_headers(env.get(variable, ""), liberal=True).items():
        if not (_HTTP_VALUE if is_http else _GRPC_VALUE).fullmatch(value):
            return f"{variable}: a value holds a line break or a letter that cannot be sent in a header"
        if not is_http and not _GRPC_NAME.fullmatch(name):
            return f"{variable}: a name ends in -bin or holds a character that gRPC does not take"
    return None


class BadHeaders(logging.Handler):
    """Records that a header was rejected. The message is suppressed: it contains the header, which is often a token."""

    def __init__(self) -> None:
        """Start listening."""
        super().__init__()
        self.seen = False
        self._logger = logging.getLogger(_LOGGER)
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Record the rejection."""
        self.seen = True

    def problems(self) -> list[str]:
        """Message for people, if any."""
        return [PROBLEM] if self.seen else []
