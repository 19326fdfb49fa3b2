"""A receiver of webhooks on a free port, which can also refuse, and a run with a finding to send to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.diagnosis import made


class Hook:
    """What was received; ``statuses`` are the answers in order, the last of them for good."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses) or [200]
        self.taken: list[dict[str, Any]] = []
        self.url = ""
        self.requests = 0

    def answer(self, body: bytes) -> int:
        self.requests += 1
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status < 300:
            self.taken.append(json.loads(body))
        return status

    def names(self) -> list[str]:
        return [each["alerts"][0]["labels"]["alertname"] for each in self.taken]


@contextmanager
def webhook(*statuses: int) -> Iterator[Hook]:
    hook = Hook(*statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = hook.answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", hook.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def exploded(directory: Path, *, session: str = "2026-03-01T12:00:00Z") -> Path:
    """A finished run of ours whose gradient exploded once."""
    norms = {"pre_clip_grad_norm": lambda n: 500.0 if n == 30 else 1.0}
    ended = [made.line("RUN_ENDED", 61, outcome="finished", reported_by="trainer")]
    run = made.run(directory, made.policy(60, **norms), ended)
    (run / "run.json").write_text(json.dumps({"run_id": "made", "started_at": session, "pid": 1, "status": "finished"}))
    return run


def findings_of(run: Path) -> list[dict[str, Any]]:
    path = run / "findings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
