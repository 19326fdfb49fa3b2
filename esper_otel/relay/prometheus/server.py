"""The HTTP server for scrapes, with limits on connections and their duration.

Every connection costs a thread and a descriptor, and a relay without descriptors cannot open its log.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from socketserver import ThreadingMixIn
from typing import Any, Final
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from esper_otel.relay.prometheus.application import Application
from esper_otel.relay.prometheus.exposition import FamilyCollector
from esper_otel.relay.prometheus.scrapes import Scrapes

MAX_CONNECTIONS: Final = 32
"""Connections at a time; more are closed at once. Scrapers ask one after the other."""

LONGEST_S: Final = 30.0
"""Maximum duration of a connection; scrapers wait 10 s by default. A slow client could hold it indefinitely."""


STOPS_WITHIN_S: Final = 0.05
"""Time to notice a stop; the library's 0.5 s would be a third of a short replay."""


_App = Callable[[Any, Any], Any]


class _Handler(WSGIRequestHandler):
    timeout = LONGEST_S

    def handle(self) -> None:
        end = threading.Timer(LONGEST_S, self._break_off)
        end.daemon = True
        end.start()
        try:
            super().handle()
        finally:
            end.cancel()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Log no requests."""

    def _break_off(self) -> None:
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it ended by itself


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int) -> None:
        self.address_family = _family(host, port)
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread is to be had
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print no traceback for errors caused by a slow or vanished client."""


class ScrapeServer:
    """Serves the families of a collector from construction until :meth:`stop`."""

    def __init__(
        self, collector: FamilyCollector, host: str, port: int, run: str = "", scrapes: Scrapes | None = None
    ) -> None:
        """Listen on ``port`` of ``host``; port 0 takes any. A request for another run than ``run`` is refused.

        ``scrapes``: what complete answers are noted in.

        Raises:
            OSError: the port is taken, or the host is not an address of this machine.
        """
        self._server = _Server(host, port)
        self._server.set_app(_of_run(_noted(Application(collector), scrapes or Scrapes()), run))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOPS_WITHIN_S,), name="esper-scrape", daemon=True
        )
        self._thread.start()

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return str(self._server.server_address[0])

    @property
    def server_port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def stop(self) -> None:
        """Stop listening. Responses in progress are completed."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _of_run(metrics: _App, run: str) -> _App:
    """``metrics`` for requests that name no run or this one.

    A relay may take the port of one that was killed: its figures must not appear under the name of that one's run.
    """

    def serve(environ: Any, start_response: Any) -> Any:
        asked = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True).get("run", [run])
        if not run or asked == [run]:
            return metrics(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"this relay serves another run\n"]

    return serve


class _Answer:
    """Parts of an answer; ``sent`` is called once the last of them was written."""

    def __init__(self, parts: Sequence[bytes], sent: Callable[[], object]) -> None:
        self._parts = parts
        self._sent = sent

    def __len__(self) -> int:
        return len(self._parts)  # the server gives the length of an answer of one part

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        self._sent()


def _noted(metrics: _App, scrapes: Scrapes) -> _App:
    def serve(environ: Any, start_response: Any) -> Any:
        begun_at = time.monotonic()
        parts = metrics(environ, start_response)
        if environ["REQUEST_METHOD"] != "GET":
            return parts
        return _Answer(parts, lambda: scrapes.note(environ["REMOTE_ADDR"], begun_at))

    return serve


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
