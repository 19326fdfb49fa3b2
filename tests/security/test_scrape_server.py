"""Whoever reaches the scrape endpoint cannot take the relay's threads, descriptors or time."""

from __future__ import annotations

import contextlib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from esper_otel.relay.metrics.families import Family
from esper_otel.relay.prometheus import server as scrape_server
from esper_otel.relay.prometheus.exposition import FamilyCollector
from esper_otel.relay.prometheus.server import MAX_CONNECTIONS, ScrapeServer
from tests.waiting import PATIENCE_S, wait_for


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScrapeServer]:
    """A server that is less patient than usual, so that a test is quick."""
    monkeypatch.setattr(scrape_server, "LONGEST_S", 1.0)
    answer = Family(
        name="answer",
        prometheus_name="answer",
        instrument="gauge",
        unit="",
        description="What is asked for.",
        attributes=(),
        points={(): 42.0},
    )
    serving = ScrapeServer(FamilyCollector(lambda: [answer], {}), "127.0.0.1", 0)
    yield serving
    serving.stop()


def asked(server: ScrapeServer, path: str = "/metrics", **headers: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def answer_if_any(server: ScrapeServer) -> str:
    try:
        return asked(server)
    except (urllib.error.URLError, ConnectionError):
        return ""


def connected(server: ScrapeServer, first_words: bytes = b"GET /metr") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S)
    connection.sendall(first_words)
    return connection


def ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection before 10 s are over."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def test_it_is_scraped(server: ScrapeServer) -> None:
    assert "answer 42.0" in asked(server)


def test_a_connection_that_says_nothing_or_a_byte_now_and_then_is_ended(server: ScrapeServer) -> None:
    with connected(server, b"") as silent, connected(server) as slow:
        started = time.monotonic()
        while time.monotonic() - started < 1.5:
            try:
                slow.sendall(b"i")
            except OSError:
                break
            time.sleep(0.1)

        assert ended(silent)
        assert ended(slow)


def test_connections_beyond_the_limit_are_closed_and_the_next_scrape_is_answered(
    server: ScrapeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape_server, "LONGEST_S", 30.0)
    held = [connected(server) for _ in range(MAX_CONNECTIONS)]
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        asked(server)
    for connection in held:
        connection.close()

    assert "answer 42.0" in wait_for(lambda: answer_if_any(server), "an answer")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\0" * 100_000,
        b"GET /" + b"a" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 200_000 + b"\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"\r\n\r\n",
    ],
    ids=["no_http", "long_path", "many_headers", "long_header", "long_body", "empty"],
)
def test_a_strange_request_is_ended_without_a_word_on_the_console(
    server: ScrapeServer, request_bytes: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE_S) as connection:
        with contextlib.suppress(OSError):  # it may be refused before all of it is said
            connection.sendall(request_bytes)
        assert ended(connection)

    assert "answer 42.0" in asked(server)
    assert "" == capfd.readouterr().err


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"])
def test_no_path_leads_to_a_file(server: ScrapeServer, path: str) -> None:
    assert "root:" not in asked(server, path)
