"""The Prometheus operator with the shipped monitors and rules, beside the cluster: it asks the API server alone."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.cluster.places import BIN, CACHE, LOGS
from tests.cluster.conftest import Installed
from tests.cluster.kubectl import MONITORING, OBSERVABILITY, TRAINING, apply, attempt, kubectl, objects, one
from tests.cluster.monitoring import MONITORS, scraping
from tests.tools import tool
from tests.waiting import wait_for

NAME = "everything"
EVERY: dict[str, Any] = {}
"""A selector of everything."""


@pytest.fixture(scope="module")
def operator(installed: Installed) -> Iterator[None]:
    """The operator, with the definitions of all of its kinds."""
    kubectl("apply", "--server-side", "-f", str(CACHE / "definitions" / "of-the-operator"))
    kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    with (
        subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True) as proxy,
        (LOGS / "operator.log").open("wb") as log,
    ):
        assert proxy.stdout is not None
        port = proxy.stdout.readline().rpartition(":")[2].strip()
        command = [BIN / "operator", f"--apiserver=http://127.0.0.1:{port}", "--web.listen-address=127.0.0.1:0"]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            yield
            process.terminate()
        proxy.terminate()


@pytest.fixture(scope="module")
def written(operator: None) -> dict[str, Any]:
    """The configuration that the operator writes for a Prometheus that takes every monitor and rule."""
    chosen = ("podMonitor", "serviceMonitor", "rule")
    selectors = {f"{kind}{what}": EVERY for kind in chosen for what in ("Selector", "NamespaceSelector")}
    about = {"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus"}
    apply({**about, "metadata": {"name": NAME, "namespace": MONITORING}, "spec": {"replicas": 0, **selectors}})

    def configuration() -> dict[str, Any] | None:
        done = attempt("-n", MONITORING, "get", "secret", f"prometheus-{NAME}", "-o", "json")
        packed = json.loads(done.stdout)["data"].get("prometheus.yaml.gz", "") if done.returncode == 0 else ""
        found = yaml.safe_load(gzip.decompress(base64.b64decode(packed))) if packed else {}
        return found if found.get("scrape_configs") else None

    return wait_for(configuration, "the operator's configuration", every_s=1.0)


def test_the_operator_writes_the_jobs_that_the_other_tests_scrape_by(written: dict[str, Any]) -> None:
    jobs = {job["job_name"]: job for job in written["scrape_configs"]}
    monitors = [
        (kind, monitor)
        for kind in MONITORS
        for namespace in (OBSERVABILITY, TRAINING)
        for monitor in objects(kind, namespace)
    ]

    assert len(monitors) == len(jobs) > 1
    for kind, monitor in monitors:
        ours, at = scraping(kind, monitor), monitor["metadata"]
        theirs = jobs[f"{kind[:-1].replace('monitor', 'Monitor')}/{at['namespace']}/{at['name']}/0"]
        for key in ("scrape_interval", "scrape_timeout"):
            assert ours[key] == theirs[key]
        at_once = iter(theirs["relabel_configs"])  # theirs have ours in that order, and steps that choose pods
        assert [] == [step for step in ours["relabel_configs"] if not any(is_same(step, each) for each in at_once)]


def is_same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Compare two steps by effect; a field that one leaves out has its default."""
    default = {"action": "replace", "regex": "(.*)", "replacement": "$1", "separator": ";"}
    one, other = ({**default, **{key: str(value) for key, value in step.items()}} for step in (ours, theirs))
    for step in (one, other):
        step["replacement"] = step["replacement"].replace("${1}", "$1")
    return one == other


def test_the_operator_takes_every_shipped_rule(written: dict[str, Any], tmp_path: Path) -> None:
    def rules() -> dict[str, str]:
        maps = objects("configmaps", MONITORING, f"prometheus-name={NAME}")
        return {name: text for each in maps for name, text in each.get("data", {}).items()}

    ((name, text),) = wait_for(rules, "the operator's rules", every_s=1.0).items()
    (tmp_path / "rules.yml").write_text(text)
    checked = subprocess.run([tool("promtool"), "check", "rules", tmp_path / "rules.yml"], capture_output=True)

    assert name.startswith(f"{OBSERVABILITY}-esper-")
    assert 0 == checked.returncode, checked.stderr
    shipped = one("prometheusrules", OBSERVABILITY, "esper")["spec"]["groups"]
    assert [(group["name"], len(group["rules"])) for group in shipped] == [
        (group["name"], len(group["rules"])) for group in yaml.safe_load(text)["groups"]
    ]
