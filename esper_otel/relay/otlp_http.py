"""What an HTTP answer must look like for a batch to count as delivered.

The official exporters take any 2xx for an acceptance and read the whole answer into memory. A captive portal or a
login proxy answers 200 with a web page: what was sent would be gone without a trace. An answer without an end would
take all memory.
"""

from __future__ import annotations

import io
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""An OTLP answer has some hundred bytes."""

PART_BYTES: Final = 64 * 1024
HTTP_1_1: Final = 11
WEB_PAGE: Final = "text/html"


class OtlpSession(requests.Session):
    """A session for official exporters: whatever an endpoint answers, what goes wrong is a RequestException.

    Redirects are not followed: they would carry tokens to an address that nobody chose.
    """

    def __init__(self) -> None:
        """Nothing is connected yet."""
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, OtlpAnswers())

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request.

        Raises:
            requests.RequestException: it was not answered as OTLP receivers answer.
        """
        if self.verify is not True:  # requests would let REQUESTS_CA_BUNDLE go before OTEL_EXPORTER_OTLP_CERTIFICATE
            kwargs.setdefault("verify", self.verify)
        try:
            response = super().request(*args, **(kwargs | {"allow_redirects": False}))
        except (ValueError, urllib3.exceptions.HTTPError) as error:
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError(f"{type(error).__name__}: {error}") from error
        if response.is_redirect:  # headers with tokens, and the telemetry, are for the receiver that was named alone
            raise requests.ConnectionError("it redirects elsewhere: name the receiver itself as the endpoint")
        return response


class OtlpAnswers(HTTPAdapter):
    """Makes connection errors of answers that no OTLP receiver gives, so that the batch is tried again."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send ``request`` and read its answer.

        Raises:
            requests.RequestException: there is no answer, it is longer than 1 MiB, or it is a web page.
        """
        response = super().send(request, *args, **(kwargs | {"stream": True}))
        if response.ok and WEB_PAGE in response.headers.get("content-type", ""):
            response.close()
            raise requests.ConnectionError("a web page answered, not an OTLP receiver", request=request)
        try:
            body = _read(response)
        except urllib3.exceptions.HTTPError as error:  # what requests makes a RequestException of when it reads itself
            raise requests.ConnectionError(error, request=request) from error
        finally:
            response.close()
        if not body and _has_no_end(response):
            raise requests.ConnectionError("the answer broke off among its headers", request=request)
        response.raw = io.BytesIO(body)
        return response


def _has_no_end(response: requests.Response) -> bool:
    """Whether nothing in the head of an answer tells its end: http.client takes headers that broke off for whole."""
    told = {"content-length", "transfer-encoding", "connection"} & {name.lower() for name in response.headers}
    return response.status_code == requests.codes.ok and response.raw.version == HTTP_1_1 and not told


def _read(response: requests.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.raw.read(PART_BYTES, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise requests.ConnectionError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    return b"".join(parts)
