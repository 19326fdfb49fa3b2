"""ClickHouse's interface by HTTP in front of chDB, which has none: as much of it as the collector's exporter asks.

The exporter, its requests and the engine that executes them are real; this front, which has neither users nor
compression, is not.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.clickhouse.engine import ClickHouse, RefusedError

_HELLO = re.compile(r"SELECT displayName\(\), version\(\), revision\(\), timezone\(\)")


class Front:
    """Answers until closed; use it as a context manager.

    Attributes:
        url: its address.
        queries: every statement that it was asked to execute.
        is_away: answers with 503 while it is true.
    """

    def __init__(self, engine: ClickHouse, scratch: Path) -> None:
        """Listen on a free port of 127.0.0.1."""
        self.queries: list[str] = []
        self.is_away = False
        self._engine, self._scratch, self._lock = engine, scratch, threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def execute(self, parameters: dict[str, str], body: bytes) -> bytes:
        """The answer to one request, in the format Native."""
        query = parameters.get("query") or body.decode()
        with self._lock:
            self.queries.append(query)
            if _HELLO.search(query):
                return self._hello(query)
            if "query" in parameters:
                return self._insert(query, body)
            answer = self._scratch / "answer.native"
            self._engine.ask(query, "Native", answer)
            return answer.read_bytes()

    def _insert(self, query: str, body: bytes) -> bytes:
        """Rows come as ``INSERT … FORMAT Native``, behind the statement; chDB reads them from a file."""
        rows = self._scratch / "rows.native"
        rows.write_bytes(body)
        into = query.removesuffix("FORMAT Native")
        assert into != query, query
        self._engine.ask(f"{into} SELECT * FROM file('{rows}', Native)")
        return b""

    def _hello(self, query: str) -> bytes:
        """The server as it is, but of revision 0: chDB writes blocks as that has them."""
        ((name, version, _, timezone),) = self._engine.rows(query)
        columns = [_text("displayName", name), _text("version", version), _number("revision"), _text("tz", timezone)]
        # This one answer is read as a block of the client's own revision: with a header of three fields.
        return b"\x01\x00\x02\xff\xff\xff\xff\x00" + bytes((len(columns), 1)) + b"".join(columns)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = _body(self.headers, self.rfile.read, self.rfile.readline)
                parameters = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                try:
                    status, answer = (503, b"away") if front.is_away else (200, front.execute(parameters, body))
                except RefusedError as error:
                    status, answer = 500, str(error).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _body(headers: Any, read: Callable[[int], bytes], readline: Callable[[], bytes]) -> bytes:
    if headers.get("Transfer-Encoding") != "chunked":
        return read(int(headers.get("Content-Length", 0)))
    parts = []
    while size := int(readline().split(b";")[0], 16):
        parts.append(read(size))
        readline()
    readline()
    return b"".join(parts)


def _string(text: str) -> bytes:
    encoded = text.encode()
    assert len(encoded) < 128, text
    return bytes((len(encoded),)) + encoded


def _text(name: str, value: str) -> bytes:
    return _string(name) + _string("String") + b"\x00" + _string(value)


def _number(name: str) -> bytes:
    return _string(name) + _string("UInt32") + b"\x00" + (0).to_bytes(4, "little")
