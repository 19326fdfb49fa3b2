"""A hundred runs of eight ranks in a Prometheus that scrapes them, and the time of each query then.

Eight ranks of the trainer train one round. Their events, stretched over an hour, are scraped as ``esper-otel backfill``
does it; a server hands out these scrapes one after the other as if each of the runs were a relay, and a real Prometheus
scrapes all of them every 15 s.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from benchmarks.dashboarding.history import events_of, hour, trainer_environment
from benchmarks.dashboarding.queries import Server
from deploy.prometheus.build import RECORDING, RULES
from deploy.stack.program import HOST, ROOT, Ports, Program
from deploy.stack.running import running
from esper_otel.backfill.backfill import backfill

RANKS: Final = 8
ENVS: Final = 16
SCRAPE_S: Final = 15
SCRAPES: Final = 61
CHOSEN: Final = "run-000"
_LINE: Final = re.compile(r"([\w:]+)(?:\{(.*)\})? (\S+) (\d+(?:\.\d+)?)\n")
_OF_RUN: Final = re.compile(r'(?:^|,)(?:job|instance)="[^"]*"')


def trained(directory: Path) -> list[dict[str, Any]]:
    """Events of one round of eight ranks, in order of time."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    program = ["-m", "trainer", "--recipe", "demo", "--rounds", "1", "--envs", str(ENVS), "--no-progress"]
    subprocess.run(
        [*torchrun, *program, "--telemetry-dir", str(directory)],
        env={**trainer_environment(), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    return sorted(events_of(directory / "latest"), key=lambda event: str(event["timestamp"]))


def pages(events: list[dict[str, Any]], directory: Path) -> list[bytes]:
    """One compressed text for each scrape of the hour."""
    run = directory / "one"
    run.mkdir()
    with (run / "events.jsonl").open("wb") as log:
        log.writelines(hour(events, time.time() - 3600))
    text = directory / "one.om"
    with text.open("wb") as out:
        backfill(run, out, step_ms=3_600_000 // (SCRAPES - 1), run_id=run.name, spool_directory=directory)
    return pages_of(text)


def pages_of(text: Path) -> list[bytes]:
    """The scrapes of an OpenMetrics text with times, compressed; labels that a scrape gives are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            if match := _LINE.fullmatch(line.split(" # ")[0].rstrip("\n") + "\n"):
                name, labels, value, at = match.groups()
                kept = _OF_RUN.sub("", labels or "").lstrip(",")
                found[at].append(f"{name}{{{kept}}} {value}\n")
    return [gzip.compress("".join(found[at]).encode(), 1) for at in sorted(found, key=float)]


@contextmanager
def exporter(scrapes: list[bytes]) -> Iterator[str]:
    """Address of a server that hands out the scrapes in turn, a new one every ``SCRAPE_S``."""
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = scrapes[min(int((time.monotonic() - began) / SCRAPE_S), len(scrapes) - 1)]
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()


@contextmanager
def scraping(address: str, runs: int, directory: Path, prometheus: str, seconds: float) -> Iterator[Server]:
    """A Prometheus that has scraped so many runs for so long, evaluates the rules, and goes on."""
    targets = [{"targets": [address], "labels": _run(number)} for number in range(runs)]
    configuration = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "scrape_timeout": "14s", "evaluation_interval": "1m"},
        "rule_files": [str(ROOT / "deploy" / "prometheus" / name) for name in (RULES, RECORDING)],
        "scrape_configs": [{"job_name": "runs", "static_configs": targets}],
    }
    own = f"{HOST}:{Ports(standard=False).take(0)}"
    file = directory / "many.yml"
    program = Program(
        name="prometheus",
        command=(
            prometheus,
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'many'}",
            f"--web.listen-address={own}",
        ),
        files={file: json.dumps(configuration)},
        ready_url=f"http://{own}/-/ready",
    )
    with running([program], directory / "log"):
        time.sleep(seconds)
        yield Server(f"http://{own}", time.time())


def _run(number: int) -> dict[str, str]:
    """Labels of a run; the parameter makes its address another one, as a target without would be the same."""
    return {"job": "esper", "instance": f"run-{number:03}", "__param_run": str(number)}
