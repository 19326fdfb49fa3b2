"""The programs of the stack, one declaration each: command line and configuration."""

import os
from collections.abc import Callable, Mapping
from typing import Final

from deploy.alertmanager import build as alertmanager_build
from deploy.prometheus.build import RECORDING, RULES, rule_files
from deploy.stack import scraping
from deploy.stack.layout import Layout
from deploy.stack.program import HOST, ROOT, Program
from deploy.stack.scraping import Way
from deploy.stack.stores import grafana, loki, tempo
from esper_otel.log.layout import TARGETS_FILE
from grafana.links import GRAFANA_URL
from grafana.yaml_text import to_yaml

KEPT: Final = "30d"
"""How long Prometheus keeps samples: a month of runs to compare with."""

GROUP_WAIT: Final = 10 / scraping.INTERVAL_S
GROUP_INTERVAL: Final = 120 / scraping.INTERVAL_S
"""Alertmanager's waits in scrape intervals, as committed for one of 15 s."""

PROCESS_JOBS: Final[Mapping[str, str]] = {
    "otelcol": "collector",
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "tempo": "tempo",
    "loki": "loki",
    "grafana": "grafana",
}
"""Job of a program's own metrics, with their port."""


def programs(at: Layout) -> list[Program]:
    """Everything that takes part, in order of start."""
    return [declare(at) for name, declare in _DECLARED.items() if at.has(name)]


def _prometheus(at: Layout) -> Program:
    rules = _rules(at)
    if at.settings.way is Way.SCRAPE:
        source = scraping.from_relays(at.settings.telemetry_dir.absolute() / TARGETS_FILE)
    else:
        source = scraping.from_collector(at.address("exporter"))
    content = scraping.configuration(
        source,
        itself={job: at.address(port) for job, port in PROCESS_JOBS.items() if port in at.ports},
        rule_files=list(rules),
        alertmanager=at.address("alertmanager"),
        interval_s=at.settings.interval_s,
    )
    file = at.data("prometheus.yml")
    return Program(
        name="prometheus",
        command=(
            at.executables["prometheus"],
            f"--config.file={file}",
            f"--storage.tsdb.path={at.data('prometheus')}",
            f"--storage.tsdb.retention.time={KEPT}",
            f"--web.listen-address={at.address('prometheus')}",
            # Its notifications link to the host's name otherwise, where it does not listen.
            f"--web.external-url={at.url('prometheus')}",
            "--enable-feature=exemplar-storage",
        ),
        files={file: to_yaml(content), **{at.data(name): text for name, text in rules.items() if text}},
        ready_url=f"{at.url('prometheus')}/-/ready",
        shows=(f"queries and alerts    {at.url('prometheus')}/alerts",),
    )


def _rules(at: Layout) -> dict[str, str]:
    """The rule files by path; with a text where the committed ones link to another Grafana than the stack's."""
    names = (RULES, RECORDING)
    if not at.has("grafana") or at.ports["grafana"] == int(GRAFANA_URL.rpartition(":")[2]):
        return {str(ROOT / "deploy" / "prometheus" / name): "" for name in names}
    return {str(at.data(name)): text for name, text in rule_files(grafana_url=at.url("grafana")).items()}


def _alertmanager(at: Layout) -> Program:
    environ = dict(os.environ)
    if at.settings.webhook is not None:
        environ["ESPER_ALERT_WEBHOOK_URL"] = at.settings.webhook
    content = alertmanager_build.configuration(
        alertmanager_build.ways_from(environ),
        group_wait=scraping.duration(GROUP_WAIT * at.settings.interval_s),
        group_interval=scraping.duration(GROUP_INTERVAL * at.settings.interval_s),
    )
    file = at.data("alertmanager.yml")
    return Program(
        name="alertmanager",
        command=(
            at.executables["alertmanager"],
            f"--config.file={file}",
            f"--storage.path={at.data('alertmanager')}",
            f"--web.listen-address={at.address('alertmanager')}",
            f"--web.external-url={at.url('alertmanager')}",
            "--cluster.listen-address=",
        ),
        files={file: to_yaml(content)},
        ready_url=f"{at.url('alertmanager')}/-/ready",
        shows=(f"notifications         {at.url('alertmanager')}",),
    )


def _collector(at: Layout) -> Program:
    environment = {
        "COLLECTOR_LISTEN": HOST,
        "COLLECTOR_HTTP_PORT": str(at.ports["otlp_http"]),
        "COLLECTOR_GRPC_PORT": str(at.ports["otlp_grpc"]),
        "COLLECTOR_PROMETHEUS_PORT": str(at.ports["exporter"]),
        "COLLECTOR_OWN_METRICS_PORT": str(at.ports["collector"]),
        "COLLECTOR_HEALTH_PORT": str(at.ports["health"]),
        "COLLECTOR_QUEUE_DIR": str(at.data("collector")),
    }
    if at.has("tempo"):
        environment |= {"COLLECTOR_TRACES_EXPORTER": "otlp_http/tempo", "COLLECTOR_TRACES_URL": at.url("tempo_otlp")}
    if at.has("loki"):
        environment |= {"COLLECTOR_LOGS_EXPORTER": "otlp_http/loki", "COLLECTOR_LOGS_URL": f"{at.url('loki')}/otlp"}
    return Program(
        name="collector",
        command=(at.executables["collector"], f"--config={ROOT / 'deploy' / 'collector' / 'local.yaml'}"),
        environment=environment,
        ready_url=at.url("health"),
        shows=(f"OTLP                  {at.url('otlp_http')} (HTTP), {at.address('otlp_grpc')} (gRPC)",),
    )


_DECLARED: Final[Mapping[str, Callable[[Layout], Program]]] = {
    "alertmanager": _alertmanager,
    "tempo": tempo,
    "loki": loki,
    "collector": _collector,
    "prometheus": _prometheus,
    "grafana": grafana,
}
