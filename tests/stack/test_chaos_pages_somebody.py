"""A policy that explodes pages a person, whichever way its metrics take: scraped, or through the collector.

Real programs all the way: trainer, relay, collector, Prometheus, Alertmanager, a webhook. One run and its one relay
feed two stacks at once, each started by the code behind ``make stack``, so that their alerts can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.stack.layout import Layout, layout
from deploy.stack.program import Settings
from deploy.stack.programs import programs
from deploy.stack.running import running
from deploy.stack.scraping import Way
from tests.alerts.alerting import Webhook, webhook
from tests.prometheus.real_prometheus import Prometheus
from tests.relay.processes import process
from tests.tools import tool
from tests.waiting import wait_for

RUN = "chaos-run"
EXPLODED = "TamiyoGradNormExploded"
INTERVAL_S = 1.0

ON_ONE_EVENT = [
    "TolariaHostLossNonFinite",
    "TamiyoNonFiniteUpdate",
    "TamiyoNumericalInstability",
    "SimicRewardHackingSuspected",
    EXPLODED,
]
"""Alerts that one event of the recipe is enough for: when they fire does not depend on how often somebody looks."""

STORES = frozenset({"tempo", "loki", "grafana"})


class Watched(msgspec.Struct, frozen=True):
    """One stack, and what it told its webhook."""

    at: Layout
    hook: Webhook

    @property
    def prometheus(self) -> Prometheus:
        return Prometheus(self.at.url("prometheus"))


class Both(msgspec.Struct, frozen=True):
    """The stack that scrapes relays and has no collector, and the one that is pushed to."""

    scrape: Watched
    otlp: Watched


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A run of the chaos recipe, watched by both stacks."""
    for name in ("prometheus", "prometheus-alertmanager", "otelcol-esper"):
        tool(name)
    telemetry = tmp_path_factory.mktemp("telemetry")
    with webhook() as scrape_hook, webhook() as otlp_hook:
        scrape = stack_of(tmp_path_factory, telemetry, Way.SCRAPE, scrape_hook, STORES | {"collector"})
        otlp = stack_of(tmp_path_factory, telemetry, Way.OTLP, otlp_hook, STORES)
        with running(programs(scrape), scrape.data("log")), running(programs(otlp), otlp.data("log")):
            environment = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url("otlp_http"),
                "OTEL_METRIC_EXPORT_INTERVAL": f"{INTERVAL_S * 1000:.0f}",
                "ESPER_OTEL_RUN_ID": RUN,
                "ESPER_OTEL_LINGER": "5",
            }
            recipe = ("-m", "trainer", "--recipe", "chaos", "--telemetry-dir", str(telemetry))
            with process(*recipe, **environment):
                yield Both(Watched(scrape, scrape_hook), Watched(otlp, otlp_hook))


def stack_of(
    directories: pytest.TempPathFactory, telemetry: Path, way: Way, hook: Webhook, without: frozenset[str]
) -> Layout:
    """A stack on free ports that looks every second."""
    return layout(
        Settings(
            telemetry_dir=telemetry,
            data_dir=directories.mktemp(f"stack-{way}"),
            way=way,
            interval_s=INTERVAL_S,
            without=without,
            standard_ports=False,
            webhook=hook.url,
        )
    )


def arrived(watched: Watched, name: str) -> dict[str, Any]:
    """The alert ``name`` as it came to the webhook."""
    alert: dict[str, Any] = wait_for(lambda: watched.hook.alert(name), f"the arrival of {name}")
    return alert


@pytest.mark.parametrize("way", list(Way))
def test_an_exploding_gradient_arrives_at_the_webhook(watched: Both, way: Way) -> None:
    alert = arrived(getattr(watched, way), EXPLODED)

    assert {
        "alertname": EXPLODED,
        "job": "esper",
        "instance": RUN,
        "group_id": "default",
        "severity": "critical",
        "domain": "tamiyo",
        "concern": "grad_norm",
        "symptom": "false",
    } == alert["labels"]
    assert re.search(rf"policy update\(s\) of {RUN} with a gradient norm above 100", alert["annotations"]["summary"])


@pytest.mark.parametrize("name", ON_ONE_EVENT)
def test_it_is_the_same_alert_both_ways(watched: Both, name: str) -> None:
    scraped, pushed = arrived(watched.scrape, name), arrived(watched.otlp, name)

    assert scraped["labels"] == pushed["labels"]
    assert scraped["annotations"].keys() == pushed["annotations"].keys()
    assert scraped["annotations"]["runbook_url"] == pushed["annotations"]["runbook_url"]
    links = [re.sub(r"&(from|to)=\d+", "", one["annotations"]["dashboard_url"]) for one in (scraped, pushed)]
    assert links[0] == links[1]  # but for the moments of their last evaluations


def test_it_is_routed_the_same_both_ways(watched: Both) -> None:
    arrived(watched.scrape, EXPLODED), arrived(watched.otlp, EXPLODED)
    scraped, pushed = watched.scrape.hook.group_of(EXPLODED), watched.otlp.hook.group_of(EXPLODED)

    assert {"job": "esper", "instance": RUN} == scraped["groupLabels"] == pushed["groupLabels"]
    assert "training-page" == scraped["receiver"] == pushed["receiver"]


@pytest.mark.parametrize("way", list(Way))
def test_a_run_is_there_once_although_its_relay_both_serves_and_pushes(watched: Both, way: Way) -> None:
    stack: Watched = getattr(watched, way)
    arrived(stack, EXPLODED)

    assert [{"group_id": "default", "instance": RUN, "job": "esper", "rank": "0"}] == [
        {name: value for name, value in series["metric"].items() if name != "__name__"}
        for series in stack.prometheus.query("last_over_time(tamiyo_updates_total[10m])")
    ]
    assert 0.0 == stack.prometheus.number("max(resets(tamiyo_updates_total[10m]))")
