"""A real S3 server, and a proxy in front of it that fails as networks and stores do."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.tools import tool
from tests.waiting import wait_for

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMIexampleSecretKey"
BUCKET = "telemetry"

Fault = Callable[["Request"], None]


class Server:
    """moto's S3 server on a free port."""

    def __init__(self) -> None:
        self.port = _free_port()
        self._process = self._started()
        self._send("PUT", f"/{BUCKET}")

    def empty(self) -> None:
        """Forget everything."""
        self._send("POST", "/moto-api/reset")
        self._send("PUT", f"/{BUCKET}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [tool("moto_server"), "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: _answers(self.port), "the start of the S3 server")
        return process

    def _send(self, method: str, path: str) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(request) as answer:
            answer.read()


class Request:
    """One request on its way through the proxy, which a fault may answer or cut."""

    def __init__(self, handler: _Handler, method: str) -> None:
        self.handler, self.method, self.path = handler, method, handler.path
        self.is_done = False

    def refuse(self, status: int, code: str, message: str = "from the proxy") -> None:
        """Answer as a store does."""
        self.handler.rfile.read(self._length())
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.handler.send_response(status)
        self.handler.send_header("Content-Length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body)
        self.is_done = True

    def cut(self) -> None:
        """Take half of what is sent, and close the connection."""
        self.handler.rfile.read(self._length() // 2)
        self.handler.close_connection = True
        self.handler.connection.shutdown(socket.SHUT_RDWR)
        self.is_done = True

    def _length(self) -> int:
        return int(self.handler.headers.get("Content-Length") or 0)


class Proxy:
    """Passes requests on, unless ``fault`` does something with one; ``requests`` are all that came."""

    def __init__(self, port: int) -> None:
        self.fault: Fault = lambda request: None
        self.requests: list[tuple[str, str]] = []
        handler = type("Handler", (_Handler,), {"proxy": self, "target": port})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that was killed
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def variables(self) -> dict[str, str]:
        """Variables with which a client uses it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    def gets(self, part: str) -> list[str]:
        """Paths of the objects that were read, with ``part`` in them."""
        return [path for method, path in self.requests if method == "GET" and part in path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    target: int

    def _pass(self) -> None:
        self.proxy.requests.append((self.command, self.path))
        request = Request(self, self.command)
        self.proxy.fault(request)
        if request.is_done:
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection("127.0.0.1", self.target)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        except OSError:  # the store is away
            self.close_connection = True
            return
        finally:
            connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "content-length", "date", "server"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815  # names of the library

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def faulty(proxy: Proxy, fault: Fault) -> Iterator[None]:
    """The proxy with ``fault``, for as long as the block."""
    proxy.fault = fault
    try:
        yield
    finally:
        proxy.fault = lambda request: None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
