"""The backends of the cluster in one pod: takes OTLP by HTTP and keeps every request as a file. Standard library alone.

``sink.py DIRECTORY PORT…``. A file is named TIME-SIGNAL.TENANT.pb, and appears whole.
"""

from __future__ import annotations

import gzip
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWER = "answer"
"""A file beside the requests; while it is there, its number is the status of every answer."""


class Handler(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    protocol_version = "HTTP/1.1"
    directory: Path

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.directory / ANSWER
        if answer.exists():
            self._answer(int(answer.read_text()))
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        signal = self.path.rstrip("/").rpartition("/")[2]
        name = f"{time.time_ns()}-{signal}.{self.headers.get('X-Scope-OrgID', '')}"
        unfinished = self.directory / f"{name}.new"
        unfinished.write_bytes(body)
        unfinished.rename(self.directory / f"{name}.pb")
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


def main() -> None:
    """Serve until killed."""
    Handler.directory = Path(sys.argv[1])
    for port in sys.argv[2:]:
        threading.Thread(target=ThreadingHTTPServer(("", int(port)), Handler).serve_forever).start()


if __name__ == "__main__":
    main()
