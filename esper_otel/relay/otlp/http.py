"""HTTP requests of the official exporters: one request for each attempt, and responses that are validated.

The official exporters take any 2xx for an acceptance and read the whole answer into memory. A captive portal or a
login proxy answers 200 with a web page: what was sent would be gone without a trace. An answer without an end would
take all memory.

They also send a request again themselves within the timeout of one call. The last of them has what is left of it, be
it a hundredth of a second: the receiver takes the items, nobody waits for its answer, and they are sent once more.
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

LATER_STATUSES: Final = frozenset({429, 502, 503, 504})
"""Statuses with which a receiver asks for the same request later (OTLP specification, "Retryable Response Codes")."""


class NotNow(requests.RequestException):
    """A request that was not accepted and may be later; of no type that makes the official exporters send it again.

    Attributes:
        retry_after_s: time that the receiver asks to be left alone, in s; 0 where it says nothing.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        """``reason``: text for messages."""
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class OtlpSession(requests.Session):
    """A session for official exporters: whatever an endpoint does that may be over later raises :class:`NotNow`.

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

        A connection that the receiver had closed while it was not used is replaced by a new one, once.

        Raises:
            NotNow: there was no response, none as OTLP receivers give it, or one that asks for patience.
        """
        ours = {
            "allow_redirects": False,
            "proxies": proxies_of(url if isinstance(url, str) else url.decode()),
            "verify": self._certificates(),
        }
        try:
            response = self._sent(method, url, *args, **(kwargs | ours))
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:  # RequestException is an OSError
            raise NotNow(f"{type(error).__name__}: {error}") from error
        if 300 <= response.status_code < 400:  # requests takes one without an address for an acceptance
            # Headers with tokens, and the telemetry, are for the receiver that was named alone.
            raise NotNow("the endpoint redirects elsewhere: configure the receiver itself as the endpoint")
        if response.status_code in LATER_STATUSES:
            raise NotNow(f"HTTP status {response.status_code}", retry_after_s(response))
        return response

    def _sent(self, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            return super().request(*args, **kwargs)
        except requests.ConnectionError as error:
            if not (error.args and isinstance(error.args[0], urllib3.exceptions.ProtocolError)):
                raise
        return super().request(*args, **kwargs)

    def _certificates(self) -> Any:
        """OTEL_EXPORTER_OTLP_CERTIFICATE, else the bundle that requests would take from the environment."""
        if self.verify is not True:
            return self.verify
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def retry_after_s(response: requests.Response) -> float:
    """Time that ``Retry-After`` names, as a number or as a date, in s; 0 where it is absent or unreadable."""
    try:
        return float(urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", "0")))
    except (ValueError, OverflowError, urllib3.exceptions.InvalidHeader):
        return 0.0


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
