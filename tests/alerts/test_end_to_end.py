"""One exploding update in a living run reaches a person's webhook: relay, real Prometheus, real Alertmanager."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.alerts.alerting import Webhook, alertmanager_to, prometheus_with_rules, webhook
from tests.alerts.updating_child import EXPLODE
from tests.prometheus.real_prometheus import Prometheus
from tests.relay.processes import process, relay
from tests.tools import tool
from tests.waiting import wait_for

TOKEN = "a-token-of-the-test"
RUN_LABELS = {"job": "esper", "instance": "run"}


class Watched(msgspec.Struct, frozen=True):
    """A run that is watched."""

    directory: Path
    training: subprocess.Popen[str]
    prometheus: Prometheus
    hook: Webhook


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run that was healthy, exploded once and was then killed, with all that arrived at the webhook."""
    tool("prometheus-alertmanager")
    telemetry = tmp_path_factory.mktemp("telemetry")
    servers = tmp_path_factory.mktemp("servers")
    with (
        process("-m", "tests.alerts.updating_child", str(telemetry)) as training,
        webhook() as hook,
        alertmanager_to(hook, servers, TOKEN) as alertmanager,
    ):
        wait_for((telemetry / "run" / "run.json").exists, "the start of the run")
        with (
            relay(telemetry / "run", "--follow", "--linger", "300"),
            prometheus_with_rules(telemetry / "prometheus_targets.json", alertmanager, servers) as prometheus,
        ):
            prometheus.wait_for("count_over_time(tamiyo_updates_total[1m]) >= 3")
            yield Watched(telemetry, training, prometheus, hook)


def test_a_healthy_run_alerts_nobody(watched: Watched) -> None:
    assert [] == watched.prometheus.query("ALERTS")
    assert [] == watched.hook.deliveries


def test_one_exploding_update_arrives_with_its_labels_and_its_value(watched: Watched) -> None:
    (watched.directory / EXPLODE).touch()
    alert = wait_for(lambda: watched.hook.alert("TamiyoGradNormExploded"), "the alert's arrival")

    assert {
        "alertname": "TamiyoGradNormExploded",
        "severity": "critical",
        "domain": "tamiyo",
        "concern": "grad_norm",
        "symptom": "false",
        "group_id": "default",
        **RUN_LABELS,
    } == alert["labels"]
    assert (
        "1 policy update(s) of run with a gradient norm above 100, the largest was 12.35k"
        == (alert["annotations"]["summary"])
    )
    assert alert["annotations"]["runbook_url"].endswith("#tamiyogradnormexploded")
    assert "var-instance=run" in alert["annotations"]["dashboard_url"]


def test_it_arrives_in_the_group_of_its_run_at_the_page_of_the_training_with_the_token_of_the_file(
    watched: Watched,
) -> None:
    group = watched.hook.group_of("TamiyoGradNormExploded")

    assert RUN_LABELS == group["groupLabels"]
    assert "training-page" == group["receiver"]
    assert {f"Bearer {TOKEN}"} == {delivery.authorization for delivery in watched.hook.deliveries}


def test_a_killed_run_pages_the_platform(watched: Watched) -> None:
    watched.training.kill()
    alert = wait_for(lambda: watched.hook.alert("EsperRunDied"), "the alert's arrival")

    assert {"severity": "critical", "domain": "esper", **RUN_LABELS}.items() <= alert["labels"].items()
    assert "platform-page" == watched.hook.group_of("EsperRunDied")["receiver"]
