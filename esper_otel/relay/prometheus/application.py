"""The WSGI application that answers scrapes: the client library's, with texts made from templates."""

from __future__ import annotations

import gzip
from typing import Any, Final

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import choose_encoder, gzip_accepted

from esper_otel.relay.prometheus.exposition import FamilyCollector, registry_of
from esper_otel.relay.prometheus.templates import Templates

FORMATS: Final = 4
"""Formats whose templates are kept; a scraper asks for one, and nobody can make the relay keep more."""

LEVEL: Final = 1
"""Level of compression: a page of 540 kB takes 1 ms and leaves 30 kB; the highest level takes 26 ms and leaves 25."""


class Application:
    """Answers requests for the families of one collector."""

    def __init__(self, collector: FamilyCollector) -> None:
        """``collector``: source of the families."""
        self._collector = collector
        self._library = make_wsgi_app(registry_of(collector))
        self._templates: dict[str, Templates] = {}

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Answer a scrape; what is none is left to the library."""
        if environ["REQUEST_METHOD"] != "GET" or environ["PATH_INFO"] == "/favicon.ico":
            return self._library(environ, start_response)
        encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        templates = self._templates.get(content_type)
        if templates is None:
            if len(self._templates) >= FORMATS:
                self._templates.clear()
            templates = self._templates[content_type] = Templates(encode)
        body = templates.text(self._collector).encode()
        headers = [("Content-Type", content_type)]
        if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            body = gzip.compress(body, LEVEL)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", headers)
        return [body]
