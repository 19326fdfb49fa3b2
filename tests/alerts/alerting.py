"""A real Prometheus with our rules, a real Alertmanager with our routes, and a webhook that notes what arrives."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from deploy.alertmanager.build import configuration, ways_from
from deploy.stack import scraping
from grafana.yaml_text import to_yaml
from tests.prometheus.real_prometheus import Prometheus
from tests.tools import ROOT, tool

RULES = [str(ROOT / "deploy" / "prometheus" / name) for name in ("rules.yml", "recording.yml")]


class Delivery(msgspec.Struct, frozen=True):
    """One request to the webhook: its body and the authorization that it came with."""

    body: dict[str, Any]
    authorization: str | None


class Webhook:
    """What arrived so far."""

    def __init__(self, url: str, deliveries: list[Delivery]) -> None:
        """``deliveries`` grows while requests come in."""
        self.url = url
        self.deliveries = deliveries

    def alert(self, name: str, status: str = "firing") -> dict[str, Any] | None:
        """The first alert of that name that arrived with that status."""
        arrived = [alert for delivery in self.deliveries for alert in delivery.body["alerts"]]
        return next((a for a in arrived if (a["labels"]["alertname"], a["status"]) == (name, status)), None)

    def group_of(self, name: str) -> dict[str, Any]:
        """The body of the first request that an alert arrived in."""
        return next(d.body for d in self.deliveries if name in {a["labels"]["alertname"] for a in d.body["alerts"]})


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook on a free port of this machine."""
    deliveries: list[Delivery] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            deliveries.append(Delivery(body, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Webhook(f"http://127.0.0.1:{server.server_address[1]}/alerts", deliveries)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def alertmanager_to(hook: Webhook, directory: Path, token: str) -> Iterator[str]:
    """An Alertmanager whose receivers are filled from the environment and a file; yields its address."""
    token_file = directory / "token"
    token_file.write_text(token)
    environ = {
        "ESPER_ALERT_WEBHOOK_URL": hook.url,
        "ESPER_ALERT_WEBHOOK_TOKEN_FILE": str(token_file),
        "ESPER_ALERT_SECRETS": str(directory / "none"),
    }
    file = directory / "alertmanager.yml"
    file.write_text(to_yaml(configuration(ways_from(environ), group_wait="1s", group_interval="1s")))
    address = f"127.0.0.1:{free_port()}"
    arguments = [
        f"--config.file={file}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with _running("prometheus-alertmanager", arguments, directory / "alertmanager.log"):
        yield address


@contextmanager
def prometheus_with_rules(targets: Path, alertmanager: str, directory: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes ``targets`` and evaluates the committed rules every second."""
    file = directory / "prometheus.yml"
    content = scraping.configuration(
        scraping.from_relays(targets), itself={}, rule_files=RULES, alertmanager=alertmanager, interval_s=1.0
    )
    file.write_text(to_yaml(content))
    address = f"127.0.0.1:{free_port()}"
    arguments = [
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    ]
    with _running("prometheus", arguments, directory / "prometheus.log"):
        yield Prometheus(f"http://{address}")


@contextmanager
def _running(program: str, arguments: list[str], said: Path) -> Iterator[None]:
    with said.open("wb") as log, subprocess.Popen([tool(program), *arguments], stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
