"""A Prometheus of the distribution, in a directory of its own, for as long as a test needs it."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.tools import tool
from tests.waiting import PATIENCE_S, wait_for

CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: runs
    file_sd_configs: [{{files: ['{targets}']}}]
"""


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query: ``metric`` (labels) and ``value`` (time, text) of each series."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def number(self, expression: str) -> float:
        """The value of the one series that an instant query yields."""
        (series,) = self.query(expression)
        return float(series["value"][1])

    def types(self) -> dict[str, str]:
        """The type of every metric family as it was scraped."""
        return {name: entries[0]["type"] for name, entries in self._get("metadata").items()}

    def exemplars(self, expression: str, since_s: float, until_s: float) -> list[dict[str, Any]]:
        """The series of an expression that have exemplars between two Unix times: ``seriesLabels``, ``exemplars``."""
        found: list[dict[str, Any]] = self._get("query_exemplars", query=expression, start=since_s, end=until_s)
        return found

    def label_values(self, label: str, selector: str, since_s: float) -> list[str]:
        """The values of a label in the series of a selector since a Unix time."""
        found: list[str] = self._get(f"label/{label}/values", **{"match[]": selector, "start": since_s})
        return found

    def wait_for(self, expression: str) -> None:
        """Wait until an instant query yields something."""
        wait_for(lambda: self._yields(expression), f"a result of {expression}", every_s=0.2)

    @contextmanager
    def opening(self, gate: Path, targets: int) -> Iterator[None]:
        """Make the file ``gate`` once so many targets have been scraped twice, while something else goes on."""
        with ThreadPoolExecutor(1) as threads:
            scraped = threads.submit(self.wait_for, f"count(count_over_time(up[1m]) >= 2 and up == 1) >= {targets}")
            scraped.add_done_callback(lambda _: gate.touch())
            yield
            scraped.result()

    def _yields(self, expression: str) -> bool:
        try:
            return bool(self.query(expression))
        except OSError:  # it is not listening yet
            return False

    def _get(self, what: str, **parameters: str | float) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            return json.load(response)["data"]


@contextmanager
def prometheus_on(targets: Path, directory: Path) -> Iterator[Prometheus]:
    """A server that scrapes every second what the file ``targets`` lists."""
    configuration = directory / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(targets=targets))
    address = f"127.0.0.1:{_free_port()}"
    command = [
        tool("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
        "--enable-feature=exemplar-storage",
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
