"""The HTTP server that is scraped: the client library's application, with bounds on who may hold what for how long.

Every connection costs a thread and a descriptor, and a relay without descriptors cannot open its log.
"""

from __future__ import annotations

import socket
import threading
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

MAX_CONNECTIONS: Final = 32
"""Connections at a time; more are closed at once. Scrapers ask one after the other."""

LONGEST_S: Final = 30.0
"""How long a connection may last; scrapers wait 10 s by default. One byte now and then would hold it for ever."""


STOPS_WITHIN_S: Final = 0.05
"""How soon it notices that it is to stop; the library's 0.5 s would be a third of what a short replay takes."""


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
        """Requests are not worth a line each."""

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
        """What a client causes, by being slow or going away, is not worth a traceback."""


class ScrapeServer:
    """Serves a registry from its making until :meth:`stop`."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        """Listen on ``port`` of ``host``; port 0 takes any.

        Raises:
            OSError: the port is taken, or the host is not an address of this machine.
        """
        self._server = _Server(host, port)
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOPS_WITHIN_S,), name="esper-scrape", daemon=True
        )
        self._thread.start()

    @property
    def server_port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def stop(self) -> None:
        """Stop listening. Answers under way go on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
