"""Every Prometheus query of the built dashboards, with the variables filled in, timed in a real Prometheus."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.dashboarding.history import HOUR_S, History
from deploy.stack.program import HOST, Ports, Program
from deploy.stack.running import running
from deploy.stack.stores import DASHBOARDS

STEP_S: Final = 15
VALUES: Final = {"group_id": ".*", "rank": ".*", "env_id": ".*", "slot": ".*", "domain": ".+", "severity": ".+"}
COMPARED: Final = {"smoothing": "1s", "point": "1"}
WINDOWS: Final = {"__rate_interval": "1m", "__range": f"{HOUR_S:.0f}s", "__interval": f"{STEP_S}s"}
SELECTOR: Final = re.compile(r"[a-zA-Z_:][\w:]*{[^{}]*}")


class Query(msgspec.Struct, frozen=True):
    """One query of one panel, as Grafana sends it."""

    uid: str
    dashboard: str
    panel: str
    text: str
    instant: bool


class Cost(msgspec.Struct, frozen=True):
    """Cost of a query: median time in s, and the series of its answer."""

    query: Query
    took_s: float
    answered: int


def queries_of(run_id: str, runs: str = "") -> list[Query]:
    """All of them, for the whole of one run; ``runs`` are those compared, by default this one."""
    values = {**VALUES, **WINDOWS, "job": "esper", "instance": run_id, "runs": runs or run_id, **COMPARED}
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:  # closed rows ask for nothing
            for target in panel.get("targets", []):
                if target["datasource"]["type"] == "prometheus":
                    text = re.sub(r"\$([a-z_]\w*)|\$\{(\w+)\}", lambda name: values[name[1] or name[2]], target["expr"])
                    is_instant = bool(target.get("instant"))
                    found.append(Query(board["uid"], board["title"], panel["title"], text, is_instant))
    return found


class Server:
    """A Prometheus that holds one history."""

    def __init__(self, url: str, until_s: float) -> None:
        """``until_s`` is the time of the last scrape, Unix s."""
        self._url = url
        self._until_s = until_s

    def cost(self, query: Query, repeats: int) -> Cost:
        """Ask ``repeats`` times, after one warm-up."""
        times, answered = [], len(self._ask(query))
        for _ in range(repeats):
            began = time.perf_counter()
            self._ask(query)
            times.append(time.perf_counter() - began)
        return Cost(query, statistics.median(times), answered)

    def touched(self, queries: list[Query]) -> int:
        """Number of series that all of them read, each counted once."""
        selectors = sorted({selector for query in queries for selector in SELECTOR.findall(query.text)})
        found: set[tuple[tuple[str, str], ...]] = set()
        for selector in selectors:
            asked = {"match[]": selector, "start": self._until_s - HOUR_S, "end": self._until_s}
            found |= {tuple(sorted(labels.items())) for labels in self._get("series", asked)}
        return len(found)

    def number(self, text: str) -> float:
        """The only value of a query."""
        ((_, value),) = [one["value"] for one in self._get("query", {"query": text, "time": self._until_s})["result"]]
        return float(value)

    def between(self, text: str, begin_s: float, end_s: float, step_s: int) -> list[Any]:
        """Series of a query with a value at every step."""
        asked = {"query": text, "start": begin_s, "end": end_s, "step": step_s}
        return list(self._get("query_range", asked)["result"])

    def names(self, run: str) -> frozenset[str]:
        """Names of the metrics that a run has."""
        asked = {"match[]": f'{{instance="{run}"}}', "start": 0, "end": self._until_s}
        return frozenset(self._get("label/__name__/values", asked))

    def _ask(self, query: Query) -> list[Any]:
        if query.instant:
            found = self._get("query", {"query": query.text, "time": self._until_s})
            return list(found["result"])
        return self.between(query.text, self._until_s - HOUR_S, self._until_s, STEP_S)

    def _get(self, what: str, parameters: dict[str, Any]) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=120) as answer:
            return json.load(answer)["data"]


@contextmanager
def server_with(history: History, directory: Path, prometheus: str, promtool: str) -> Iterator[Server]:
    """A server on the blocks that promtool makes of the history."""
    data = directory / "data"
    command = [promtool, "tsdb", "create-blocks-from", "--quiet", "openmetrics", str(history.text), str(data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    history.text.unlink()  # some hundred MB, and not needed again
    with server_on(data, directory, prometheus, history.scraped.last_ms / 1000) as server:
        yield server


@contextmanager
def server_on(data: Path, directory: Path, prometheus: str, until_s: float) -> Iterator[Server]:
    """A server on the blocks in ``data`` that scrapes nothing; ``until_s`` is the time of their last sample, Unix s."""
    configuration = directory / "prometheus.yml"
    address = f"{HOST}:{Ports(standard=False).take(0)}"
    program = Program(
        name="prometheus",
        command=(
            prometheus,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address={address}",
            "--storage.tsdb.retention.time=30d",
        ),
        files={configuration: "scrape_configs: []\n"},
        ready_url=f"http://{address}/-/ready",
    )
    with running([program], directory / "log"):
        yield Server(f"http://{address}", until_s)
