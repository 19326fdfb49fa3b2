"""An OTLP endpoint that misbehaves at the level of bytes, and a good one behind it for when it is well again."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

Behaviour = Callable[[socket.socket, threading.Event], None]
"""What is done to one connection until it is over or the event says that the endpoint is well."""

ANSWER: Final = "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n"
LOGIN_PAGE: Final = b"<html><body>Please log in to the network</body></html>"


def answering(status: str, body: bytes = b"", kind: str = "text/plain", more: str = "") -> Behaviour:
    """Answers every request alike."""
    head = ANSWER.format(status=status, kind=kind, length=len(body), more=more).encode()

    def behave(connection: socket.socket, well: threading.Event) -> None:
        while not well.is_set() and read_request(connection):
            connection.sendall(head + body)

    return behave


def sending(answer: Callable[[], bytes]) -> Behaviour:
    """Sends these bytes after the request and closes."""

    def behave(connection: socket.socket, well: threading.Event) -> None:
        read_request(connection)
        connection.sendall(answer())

    return behave


def hang(connection: socket.socket, well: threading.Event) -> None:
    """Takes the request and never answers."""
    read_request(connection)
    well.wait()


def reset(connection: socket.socket, well: threading.Event) -> None:
    """Breaks the connection off in the middle of the request."""
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drip(connection: socket.socket, well: threading.Event) -> None:
    """Sends a header a byte at a time, for ever."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not well.wait(0.05):
        connection.sendall(b"x")


def endless(connection: socket.socket, well: threading.Event) -> None:
    """Answers with a body that has no end."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    while not well.is_set():
        connection.sendall(chunk)


BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "hanging": hang,
    "429 with Retry-After": answering("429 Too Many Requests", more="Retry-After: 3\r\n"),
    "503 with Retry-After": answering("503 Service Unavailable", more="Retry-After: 3\r\n"),
    "401, until somebody corrects the token": answering("401 Unauthorized"),
    "500 with a page": answering("500 Internal Server Error", LOGIN_PAGE, "text/html"),
    "200 with the login page of a network": answering("200 OK", LOGIN_PAGE, "text/html; charset=utf-8"),
    "redirecting to itself": answering("307 Temporary Redirect", more="Location: /v1/logs\r\n"),
    "redirecting to nonsense": answering("308 Permanent Redirect", more="Location: http://[::1\r\n"),
    "redirecting to a name that is none": answering(
        "307 Temporary Redirect", more=f"Location: http://{'a' * 80}..\u00fc/\r\n"
    ),
    "reset": reset,
    "random bytes": sending(lambda: os.urandom(2000)),
    "closing without an answer": sending(bytes),
    "an answer cut short": sending(lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc"),
    "an answer that is no gzip": answering("200 OK", b"not gzip", more="Content-Encoding: gzip\r\n"),
    "a header of a megabyte": sending(lambda: b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n"),
    "a status that is none": sending(lambda: b"HTTP/1.1 two hundred\r\n\r\n"),
    "dripping a byte at a time": drip,
    "an answer without an end": endless,
}


def read_request(connection: socket.socket) -> bool:
    """Take one request off the connection; False when there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    left = int(lengths[0]) - len(body) if lengths else 0
    while left > 0:
        more = connection.recv(65536)
        if not more:
            return False
        left -= len(more)
    return True


class BadEndpoint:
    """Listens on a free port of 127.0.0.1: misbehaves until :meth:`heal`, then passes everything on.

    Attributes:
        port: where it listens, from the start on even while it refuses connections.
        met: connections that met the fault.
        tls: wraps connections of the present; may be replaced to present another certificate.
    """

    def __init__(self, behind: int, behaviour: Behaviour | None, tls: ssl.SSLContext | None = None) -> None:
        """``behind``: port of the good receiver. Without a ``behaviour`` connections are refused."""
        self._behind, self._behaviour, self.tls = behind, behaviour, tls
        self._well = threading.Event()
        self._closed = threading.Event()
        self.met = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread: threading.Thread | None = None
        if behaviour is None:
            self._socket.close()
        else:
            self._accept()

    def __enter__(self) -> BadEndpoint:
        """Already misbehaving."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.heal()
        self._closed.set()
        self._socket.close()
        if self._thread is not None:
            self._thread.join()

    def heal(self, tls: ssl.SSLContext | None = None) -> None:
        """From now on pass everything on; ``tls`` replaces the certificate shown."""
        self.tls = tls or self.tls
        self._well.set()
        if self._thread is None:
            self._socket = socket.create_server(("127.0.0.1", self.port))
            self._accept()

    def _accept(self) -> None:
        self._socket.settimeout(0.1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed.is_set():
            with suppress(TimeoutError):
                try:
                    connection, _ = self._socket.accept()
                except (OSError, ValueError) as error:
                    if isinstance(error, TimeoutError):
                        raise
                    return
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        with connection, suppress(OSError):
            if not self._well.is_set():
                self.met += 1
            with self.tls.wrap_socket(connection, server_side=True) if self.tls else connection as open_connection:
                if self._well.is_set() or self._behaviour is None:
                    pass_on(open_connection, self._behind)
                else:
                    self._behaviour(open_connection, self._well)


def pass_on(connection: socket.socket, port: int) -> None:
    """Carry bytes both ways until one side closes. On one thread, because a TLS connection bears no second one."""
    with socket.create_connection(("127.0.0.1", port)) as other:
        other_of = {connection: other, other: connection}
        while True:
            held = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
            ready = [connection] if held else select.select(list(other_of), [], [])[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                other_of[source].sendall(data)
