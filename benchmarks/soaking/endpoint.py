"""An OTLP/HTTP endpoint with recurring faults that records which log events it accepted."""

from __future__ import annotations

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Final

PERIOD_S: Final = 60.0
DOWN_S: Final = 20.0
FAULTS: Final = ("unavailable", "throttled", "hanging", "broken off")
HANG_S: Final = 15.0

_EVENT_ID: Final = re.compile(rb"esper\.event\.id\x12.\n(.)", re.DOTALL)
"""The key, the value's length, and that of the text in it, which follows."""


class FlappingEndpoint:
    """Endpoint that accepts everything for 40 s, then refuses, throttles, hangs or disconnects for 20 s, in turn.

    Attributes:
        seen: one byte for each sequence number, 1 when a log event with it was accepted.
        repeated: accepted log events that had been accepted before.
        requests: requests accepted, and not, by what the endpoint did.
    """

    def __init__(self, most_events: int) -> None:
        """Listen on a free port of this machine."""
        self.seen = bytearray(most_events + 1)
        self.repeated = 0
        self.requests: dict[str, int] = {}
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._faults = cycle(FAULTS)
        self._fault_of_period: dict[int, str] = {}
        self.is_steady = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def state(self) -> str:
        """Current behaviour: ``ok`` or one of ``FAULTS``."""
        period, within_s = divmod(time.monotonic() - self._started, PERIOD_S)
        if self.is_steady or within_s < PERIOD_S - DOWN_S:
            return "ok"
        with self._lock:
            if int(period) not in self._fault_of_period:
                self._fault_of_period[int(period)] = next(self._faults)
            return self._fault_of_period[int(period)]

    def account(self, path: str, body: bytes, state: str) -> None:
        """Count one request."""
        with self._lock:
            self.requests[state] = self.requests.get(state, 0) + 1
            if state != "ok" or path != "/v1/logs":
                return
            for match in _EVENT_ID.finditer(body):
                event_id = body[match.end() : match.end() + match[1][0]]
                number = int(event_id.rsplit(b"-", 1)[1])
                self.repeated += self.seen[number]
                self.seen[number] = 1


def _handler(endpoint: FlappingEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            state = endpoint.state
            if state == "hanging":
                time.sleep(HANG_S)
                state = "hanging" if endpoint.state != "ok" else "ok"
            endpoint.account(self.path, body, state)
            if state == "broken off":
                self.close_connection = True
                return
            status = {"ok": 200, "unavailable": 503, "throttled": 429, "hanging": 503}[state]
            self.send_response(status)
            if status == 429:
                self.send_header("retry-after", "1")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
