"""Validation of HTTP responses before a batch counts as delivered.

The official exporters take any 2xx for an acceptance and read the whole answer into memory. A captive portal or a
login proxy answers 200 with a web page: what was sent would be gone without a trace. An answer without an end would
take all memory.
"""

from __future__ import annotations

import io
import os
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from esper_otel.text.hosts import is_loopback

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""An OTLP response has some hundred bytes."""

PART_BYTES: Final = 64 * 1024
HTTP_1_1: Final = 11
WEB_PAGE: Final = "the response is a web page, not from an OTLP receiver"
WEB_PAGES: Final = ("text/html", "application/xhtml+xml")


class OtlpSession(requests.Session):
    """A session for official exporters: every error of an endpoint becomes a RequestException.

    Redirects are not followed: they would carry tokens to an address that nobody chose.
    """

    def __init__(self) -> None:
        """Nothing is connected yet."""
        super().__init__()
        self.trust_env = False  # else a ~/.netrc takes the place of OTEL_EXPORTER_OTLP_HEADERS
        for scheme in ("http://", "https://"):
            self.mount(scheme, OtlpAnswers())

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request: past any proxy where ``url`` is on this machine, else as the environment says.

        Raises:
            requests.RequestException: it was not answered as OTLP receivers answer.
        """
        ours = {
            "allow_redirects": False,
            "proxies": proxies_of(url if isinstance(url, str) else url.decode()),
            "verify": self._certificates(),
        }
        try:
            response = super().request(method, url, *args, **(kwargs | ours))
        except (ValueError, urllib3.exceptions.HTTPError) as error:
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError(f"{type(error).__name__}: {error}") from error
        if 300 <= response.status_code < 400:  # requests takes one without an address for an acceptance
            # Headers with tokens, and the telemetry, are for the receiver that was named alone.
            raise requests.ConnectionError(
                "the endpoint redirects elsewhere: configure the receiver itself as the endpoint"
            )
        return response

    def _certificates(self) -> Any:
        """OTEL_EXPORTER_OTLP_CERTIFICATE, else the bundle that requests would take from the environment."""
        if self.verify is not True:
            return self.verify
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def proxies_of(url: str) -> dict[str, str]:
    """Proxies of the environment for ``url`` by scheme; none where HTTP(S)_PROXY and NO_PROXY name none for it."""
    if is_loopback(urlsplit(url).hostname or ""):
        return {}
    return dict(requests.utils.get_environ_proxies(url))


class OtlpAnswers(HTTPAdapter):
    """Turns responses that no OTLP receiver gives into connection errors, so that the batch is retried."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send ``request`` and read its response.

        Raises:
            requests.RequestException: there is no answer, it is longer than 1 MiB, or it is a web page.
        """
        response = super().send(request, *args, **(kwargs | {"stream": True}))
        if response.ok and response.headers.get("content-type", "").lower().startswith(WEB_PAGES):
            response.close()
            raise requests.ConnectionError(WEB_PAGE, request=request)
        try:
            body = _read(response)
        except urllib3.exceptions.HTTPError as error:  # what requests makes a RequestException of when it reads itself
            raise requests.ConnectionError(error, request=request) from error
        finally:
            response.close()
        if response.ok and body.lstrip()[:1] == b"<":  # no message of OTLP, in protobuf or in JSON, begins like this
            raise requests.ConnectionError(WEB_PAGE, request=request)
        if not body and _has_no_end(response):
            raise requests.ConnectionError("the response broke off in its headers", request=request)
        response.raw = io.BytesIO(body)
        return response


def _has_no_end(response: requests.Response) -> bool:
    """Return True if the head of a response does not determine its end: http.client accepts truncated headers."""
    told = {"content-length", "transfer-encoding", "connection"} & {name.lower() for name in response.headers}
    return response.status_code == requests.codes.ok and response.raw.version == HTTP_1_1 and not told


def _read(response: requests.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.raw.read(PART_BYTES, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise requests.ConnectionError(f"the response is longer than {MAX_ANSWER_BYTES} bytes")
    return b"".join(parts)
