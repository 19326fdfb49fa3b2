"""The installation, as deploy/k8s/README.md describes it."""

from __future__ import annotations

import subprocess

from tests.cluster import measured
from tests.cluster.conftest import Installed
from tests.cluster.kubectl import AGENT, GATEWAY, GATEWAYS, OBSERVABILITY, is_ready, objects
from tests.cluster.monitoring import Prometheus
from tests.cluster.readme import run_commands
from tests.k8s.rendering import MANIFESTS
from tests.waiting import wait_for


def succeeded(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stderr
    return True


def test_the_commands_of_the_readme_install_everything_without_an_error(installed: Installed) -> None:
    measured.note("installed: from `apply` to agent and gateways ready", f"{installed.ready_s:.0f} s")

    assert all(map(succeeded, [installed.applied, *installed.secrets]))
    assert "prometheusrule.monitoring.coreos.com/esper serverside-applied" in installed.applied.stdout
    assert "certificate.cert-manager.io/esper-agent-tls serverside-applied" in installed.applied.stdout


def test_the_agent_and_all_gateways_are_ready_and_none_was_restarted(installed: Installed) -> None:
    pods = [pod for selector in (AGENT, GATEWAY) for pod in objects("pods", OBSERVABILITY, selector)]

    assert [True] * (1 + GATEWAYS) == [is_ready(pod) for pod in pods]
    assert {0} == {status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"]}


def test_the_installation_can_be_applied_again(installed: Installed) -> None:
    assert succeeded(run_commands("kubectl apply --server-side -k", MANIFESTS, yours="lab"))


def test_prometheus_scrapes_every_collector_under_the_name_of_its_pod(prometheus: Prometheus) -> None:
    def named() -> set[tuple[str, str]]:
        return {(each["job"], each["instance"].rstrip("-0123456789")) for each in prometheus.labels("up == 1")}

    wait_for(lambda: prometheus.value("count(up == 1)") == 1 + GATEWAYS, "the scrape of every collector", every_s=1.0)

    assert ("esper-gateway", "esper-gateway") in named()
    assert {"esper-agent", "esper-gateway"} == {job for job, _ in named()}


def test_prometheus_evaluates_every_shipped_rule_without_an_error(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, str]] | None:
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = wait_for(evaluated, "the evaluation of every rule", every_s=1.0)

    assert [] == [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
    assert len(rules) > 50
