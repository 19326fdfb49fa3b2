"""The Prometheus endpoint: an address on the loopback interface unless the environment names another."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

from esper_otel.relay.prometheus.exposition import FamilyCollector
from esper_otel.relay.prometheus.scrapes import Scrapes
from esper_otel.relay.prometheus.server import ScrapeServer
from esper_otel.relay.prometheus.targets import WILDCARDS, address_of

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9464
PORTS_TRIED: Final = 100


def address_from_env() -> tuple[str, int]:
    """Host and port of OTEL_EXPORTER_PROMETHEUS_HOST and _PORT, or 127.0.0.1:9464.

    Raises:
        ValueError: the port is not a number from 0 to 65535.
    """
    host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "").strip() or DEFAULT_HOST
    text = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "").strip() or str(DEFAULT_PORT)
    if not text.isdecimal() or int(text) > 65_535:
        raise ValueError(f"OTEL_EXPORTER_PROMETHEUS_PORT={text!r}: expected a port from 0 to 65535")
    return host, int(text)


class Endpoint:
    """The HTTP server of one relay."""

    def __init__(self, collector: FamilyCollector, host: str, port: int, run: str = "") -> None:
        """Serve ``collector`` on ``port``, or on the next free port above it; port 0 takes any.

        A request that names another run than ``run`` (``?run=…``) is refused.

        Raises:
            OSError: no port of those tried is free, or the host is not an address of this machine.
        """
        self._scrapes = Scrapes()
        self._server = _serve(collector, host, port, run, self._scrapes)
        self.host = host if host in WILDCARDS else self._server.host  # of a name, what is listened on
        self.port = int(self._server.server_port)

    @property
    def url(self) -> str:
        """URL to scrape from this host."""
        host = {"::": "::1"}.get(self.host, "127.0.0.1") if self.host in WILDCARDS else self.host
        return f"http://{address_of(host, self.port)}/metrics"

    def is_scraped_since(self, moment: float) -> bool:
        """Return True if everybody who scrapes has done so since ``moment``, monotonic, s."""
        return self._scrapes.is_complete_since(moment)

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()


def _serve(collector: FamilyCollector, host: str, port: int, run: str, scrapes: Scrapes) -> ScrapeServer:
    last_error: OSError | None = None
    for candidate in range(port, min(port + PORTS_TRIED, 65_536)) if port else (0,):
        try:
            return ScrapeServer(collector, host, candidate, run, scrapes)
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                expected = (
                    f"no address of this machine ({error.strerror}); 127.0.0.1 is this machine alone, 0.0.0.0 all"
                )
                raise OSError(f"OTEL_EXPORTER_PROMETHEUS_HOST={host}: {expected}") from error
            last_error = error
    raise OSError(
        f"no free port for the Prometheus endpoint on {host} from {port} on ({last_error}); "
        "set OTEL_EXPORTER_PROMETHEUS_PORT (0 takes any)"
    )
