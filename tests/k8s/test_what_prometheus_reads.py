"""What Prometheus and Grafana get in a cluster is what they get everywhere: the same rules, the same dashboards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from deploy.k8s import build
from esper_otel.alerts import ALERTS
from esper_otel.alerts.recording import RECORDING
from tests.alerts.promtool import promtool
from tests.k8s.rendering import Rendered
from tests.tools import ROOT, python_environment
from tests.waiting import PATIENCE_S


def test_promtool_has_no_complaint_about_the_rules_in_the_cluster(example: Rendered, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(example.one("PrometheusRule", "esper")["spec"]))

    status, said = promtool("check", "rules", tmp_path / "rules.yml")

    assert (0, f"SUCCESS: {len(ALERTS) + len(RECORDING)} rules found") == (status, said.splitlines()[1].strip())


def test_the_rules_in_the_cluster_are_those_of_the_rule_files(example: Rendered) -> None:
    files = [ROOT / "deploy" / "prometheus" / name for name in ("rules.yml", "recording.yml")]
    groups = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]

    assert groups == example.one("PrometheusRule", "esper")["spec"]["groups"]


def test_the_rules_can_be_written_with_the_links_of_a_deployment(tmp_path: Path) -> None:
    written = tmp_path / "rule.yaml"
    command = [sys.executable, "-m", "deploy.k8s.build", "--out", written]
    command += ["--grafana-url", "https://grafana.example.com", "--runbook-url", "https://docs.example.com/runbook"]
    subprocess.run(command, check=True, env=python_environment(), timeout=PATIENCE_S)
    rules = [
        rule
        for group in yaml.safe_load(written.read_text())["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]

    assert {"https://grafana.example.com"} == {rule["annotations"]["dashboard_url"].split("/d/")[0] for rule in rules}
    assert {"https://docs.example.com/runbook"} == {rule["annotations"]["runbook_url"].split("#")[0] for rule in rules}


def test_every_dashboard_is_a_config_map_that_grafana_looks_for(example: Rendered) -> None:
    written = {path.name: json.loads(path.read_text()) for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
    maps = [
        each
        for each in example.of("ConfigMap")
        if build.DASHBOARD_LABELS.items() <= each["metadata"].get("labels", {}).items()
    ]

    assert written == {name: json.loads(text) for each in maps for name, text in each["data"].items()}
    assert [True] * len(maps) == [len(json.dumps(each)) < 1024 * 1024 for each in maps]


def test_without_dashboards_there_is_nothing_to_list(tmp_path: Path) -> None:
    files = build.generated(tmp_path)

    assert {"kustomization.yaml", "prometheus-rule.yaml"} == {path.name for path in files}
    (text,) = [text for path, text in files.items() if path.name == "kustomization.yaml"]
    assert ["service-monitors.yaml", "prometheus-rule.yaml"] == yaml.safe_load(text)["resources"]


def test_a_dashboard_that_is_about_to_be_written_is_listed(tmp_path: Path) -> None:
    dashboards = tmp_path / "grafana" / "dashboards"

    files = build.generated(tmp_path, [dashboards / "Esper Run.json", tmp_path / "docs" / "reference" / "signals.md"])

    (generator,) = yaml.safe_load(files[dashboards / "kustomization.yaml"])["configMapGenerator"]
    assert {"name": "dashboard-esper-run", "files": ["Esper Run.json"]} == generator
