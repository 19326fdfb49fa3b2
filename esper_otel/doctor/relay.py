"""Client for the metrics of a run's relay.

The address comes from ``run.json``, which anyone may have written in a shared directory. So only ``/metrics`` is read,
over HTTP, on this host, without a proxy, without following redirects, and within bounds of size and time.
"""

from __future__ import annotations

import http.client
import time
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from esper_otel.text.hosts import is_this_host

TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 64 * 1024 * 1024
PART_BYTES: Final = 64 * 1024


class RelayAddressError(ValueError):
    """The address in ``run.json`` is not acceptable."""


def metrics_of(url: Any, run_id: str) -> str:
    """Metrics of the relay at ``url`` in Prometheus' text format.

    Raises:
        RelayAddressError: ``url`` is not the address of a relay on this host.
        OSError: it does not answer with metrics of ``run_id``, within 5 s and 64 MiB.
    """
    host, port = _address(url)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"/metrics?{urlencode({'run': run_id})}")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"HTTP status {answer.status}")
        return _read(answer).decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {type(error).__name__}") from error
    finally:
        connection.close()


def _address(url: Any) -> tuple[str, int]:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, port = parts.hostname or "", parts.port or http.client.HTTP_PORT
    except ValueError:
        raise RelayAddressError("is not an address; expected http://HOST:PORT/metrics") from None
    if parts.scheme != "http":
        raise RelayAddressError("is not allowed; expected http://HOST:PORT/metrics")
    if not is_this_host(host):
        raise RelayAddressError("is on another host; only relays on this host are read")
    return host, port


def _read(answer: http.client.HTTPResponse) -> bytes:
    deadline, parts, size = time.monotonic() + TIMEOUT_S, [], 0
    while part := answer.read1(PART_BYTES):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise OSError(f"the answer is longer than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"the answer takes longer than {TIMEOUT_S:g} s")
    return b"".join(parts)
