"""The stack of 'make stack' with Tempo and Loki, and its runs: many rounds, a killed loop, one replayed later."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import pytest

from deploy.stack.layout import Layout, layout
from deploy.stack.program import Settings
from deploy.stack.programs import programs
from deploy.stack.running import running
from tests.grafana.real_grafana import Grafana, looked_at
from tests.prometheus.real_prometheus import Prometheus
from tests.relay.processes import manifest, process
from tests.tools import tool
from tests.waiting import PATIENCE_S, wait_for

ROUNDS: Final = 60
MANY, KILLED, REPLAYED = "many", "killed", "replayed"
SCRAPE_S: Final = 1.0
NEEDED: Final = ("prometheus", "prometheus-alertmanager", "otelcol-esper", "tempo", "loki", "grafana")


class Stack(msgspec.Struct, frozen=True):
    """The running programs, and what was seen of the run ``many`` when it was young."""

    at: Layout
    grafana: Grafana
    young: str
    paged_when_young: list[str]

    @property
    def prometheus(self) -> Prometheus:
        return Prometheus(self.at.url("prometheus"))


@contextmanager
def whole_stack(factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start it, train a run of many rounds, kill a loop, replay the run as one of yesterday."""
    for name in NEEDED:
        tool(name)
    telemetry, data = factory.mktemp("telemetry"), factory.mktemp("stack")
    settings = Settings(telemetry_dir=telemetry, data_dir=data, interval_s=SCRAPE_S, standard_ports=False)
    at = layout(settings)
    with running(programs(at), data / "logs"), looked_at(at, data / "logs") as grafana:
        young, paged = _train(at, telemetry, grafana)
        _replay(at, telemetry, factory.mktemp("later"))
        try:
            yield Stack(at, grafana, young, paged)
        finally:
            for run in (MANY, KILLED):
                with suppress(ProcessLookupError):  # it ends by itself when the tests take longer than it lingers
                    os.kill(manifest(telemetry / run)["relay"]["pid"], signal.SIGTERM)


def _environment(at: Layout, run: str) -> dict[str, str]:
    endpoint = at.url("otlp_http")
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "ESPER_OTEL_RUN_ID": run, "ESPER_OTEL_LINGER": "600"}


def _train(at: Layout, telemetry: Path, grafana: Grafana) -> tuple[str, list[str]]:
    """Train ``many`` to its end and kill ``killed``; the state of ``many`` as drawn at its start, and what fired."""
    prometheus = Prometheus(at.url("prometheus"))
    rounds = ("-m", "tests.browser.rounds_child", str(telemetry), str(ROUNDS))
    loop = ("-c", "from esper_otel.cli import main; main()", "run", "tests/browser/plain_loop.py", "0")
    where = {"ESPER_OTEL_TELEMETRY_DIR": str(telemetry)}
    with process(*rounds, **_environment(at, MANY)) as trainer:
        prometheus.wait_for(f'esper_run_status{{instance="{MANY}"}}')
        young = grafana.number("esper-run", "State", MANY)["text"]
        paged = [one["metric"]["alertname"] for one in prometheus.query(f'ALERTS{{instance="{MANY}"}}')]
        with process(*loop, **_environment(at, KILLED), **where):
            wait_for(lambda: manifest(telemetry / KILLED), "the run of the loop")
            prometheus.wait_for(f'esper_run_status{{instance="{KILLED}",esper_run_state="running"}} == 1')
            os.kill(manifest(telemetry / KILLED)["pid"], signal.SIGKILL)
        prometheus.wait_for(f'ALERTS{{alertname="EsperRunDied",alertstate="firing",instance="{KILLED}"}}')
        wait_for(lambda: trainer.poll() is not None, "the end of training")
    wait_for(lambda: manifest(telemetry / MANY).get("status") == "finished", "the end of the run")
    return young, paged


def _replay(at: Layout, telemetry: Path, directory: Path) -> None:
    """The same run as one of the day before, each of its updates beyond the limit, sent now."""
    run = directory / REPLAYED
    shutil.copytree(telemetry / MANY, run, ignore=shutil.ignore_patterns("relay", "*.lock"))
    for file in (*run.glob("*.jsonl"), *run.glob("*.json")):
        file.write_text(_a_day_ago(file.read_text(encoding="utf-8")), encoding="utf-8")
    environment = {**_environment(at, REPLAYED), "OTEL_METRICS_EXPORTER": "none"}
    with process("-m", "esper_otel.relay", str(run), "--linger", "0", **environment) as relay:
        assert relay.wait(PATIENCE_S) == 0, relay.communicate()


def _a_day_ago(text: str) -> str:
    today = datetime.now(UTC).date()
    for day in (today - timedelta(days=1), today):
        text = text.replace(f"{day.isoformat()}T", f"{(day - timedelta(days=1)).isoformat()}T")
    text = re.sub(r'"pre_clip_grad_norm":[\d.e+-]+', '"pre_clip_grad_norm":1000.0', text)
    return text.replace(f'"{MANY}"', f'"{REPLAYED}"').replace(f'"{MANY}-', f'"{REPLAYED}-')
