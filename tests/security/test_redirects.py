"""An OTLP endpoint cannot send the telemetry, and the tokens with it, somewhere else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from esper_otel.relay.otlp.exporters import Exporters, resource_from_env
from tests.otlp_receiver import OtlpReceiver


@contextmanager
def redirecting(status: int, target: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("Location", f"{target}{self.path}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_said(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with OtlpReceiver() as elsewhere, redirecting(status, elsewhere.http_endpoint) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        exporters = Exporters.from_env(resource_from_env({}))
        assert exporters.logs is not None
        delivered = exporters.logs.export([b""], 10.0)
        said = exporters.logs.last_error
        exporters.stop()

    assert not delivered
    assert "redirects elsewhere: configure the receiver itself" in said
    assert [] == elsewhere.headers
