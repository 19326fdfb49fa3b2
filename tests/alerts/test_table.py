"""Every row of the table of alerts names what exists, says why, and is explained in the runbook."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from deploy.prometheus import runbook
from deploy.prometheus.rule import rule
from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from esper_otel.alerts.collector import TELEMETRY
from esper_otel.alerts.promql import metric
from esper_otel.alerts.recording import RECORDING
from esper_otel.signals import SIGNALS
from esper_otel.signals.names import prometheus_label
from esper_otel.signals.own import OWN_SIGNALS
from tests.alerts.selectors_of import grouped_by, selectors_of
from tests.tools import ROOT

TARGET_LABELS = {"job", "instance"}
EVERY_ALERT = pytest.mark.parametrize("alert", ALERTS, ids=[alert.name for alert in ALERTS])


def labels_by_series() -> dict[str, set[str]]:
    found = {}
    for signal in (*SIGNALS, *OWN_SIGNALS):
        labels = TARGET_LABELS | {prometheus_label(attribute) for attribute in signal.attributes}
        if signal.instrument == "histogram":
            found[f"{signal.prometheus_name}_bucket"] = labels | {"le"}
            found[f"{signal.prometheus_name}_sum"] = found[f"{signal.prometheus_name}_count"] = labels
        else:
            found[signal.prometheus_name] = labels
    return found | {name: TARGET_LABELS | {"k8s_pod_uid"} | set(labels) for name, labels in TELEMETRY.items()}


KNOWN = labels_by_series()


def unknown_in(expression: str) -> list[str]:
    """What an expression names that no metric of the registry has."""
    found = selectors_of(expression)
    wrong = [name for name, _ in found if name not in KNOWN]
    wrong += [f"{name}.{label}" for name, labels in found for label in sorted(labels - KNOWN.get(name, labels))]
    grouped = grouped_by(expression) - set().union(*(KNOWN.get(name, set()) for name, _ in found))
    return wrong + sorted(grouped)


@EVERY_ALERT
def test_an_alert_names_metrics_of_the_registry_with_labels_that_they_have(alert: Alert) -> None:
    assert selectors_of(alert.expr)
    assert [] == unknown_in(alert.expr)


@pytest.mark.parametrize("name", RECORDING)
def test_a_recording_rule_names_metrics_of_the_registry_with_labels_that_they_have(name: str) -> None:
    assert selectors_of(RECORDING[name])
    assert [] == unknown_in(RECORDING[name])


@EVERY_ALERT
def test_what_the_runbook_says_to_look_at_exists(alert: Alert) -> None:
    queries = [query for query in alert.look if query != "up"]

    assert queries
    assert [] == [wrong for query in queries for wrong in unknown_in(query)]


def test_a_metric_that_does_not_exist_is_noticed_in_an_expression() -> None:
    assert ["tamiyo_update_total"] == unknown_in("sum(rate(tamiyo_update_total[5m]))")


def test_a_label_that_a_metric_does_not_have_is_noticed_in_an_expression() -> None:
    assert ["tamiyo_updates_total.head"] == unknown_in('tamiyo_updates_total{head="op"} > 1')
    assert ["head"] == unknown_in("sum by (head) (tamiyo_updates_total)")


@pytest.mark.parametrize(("name", "labels"), [("tamiyo.update", {}), ("tamiyo.updates", {"head": "op"})])
def test_the_table_cannot_name_what_the_registry_does_not_have(name: str, labels: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        metric(name, **labels)


@EVERY_ALERT
def test_an_alert_says_its_value_its_run_its_reason_and_where_to_read_on(alert: Alert) -> None:
    row = rule(alert)

    assert "$value" in row["annotations"]["summary"]
    assert {"$labels.instance", "$labels.hw_id", "$labels.device"} & set(row["annotations"]["summary"].split())
    assert alert.reason in row["annotations"]["description"]
    assert row["annotations"]["runbook_url"].endswith(f"#{alert.name.lower()}")
    assert f"/d/esper-{alert.domain}?var-job=" in row["annotations"]["dashboard_url"]


@EVERY_ALERT
def test_an_alert_has_the_labels_that_routes_and_inhibitions_go_by(alert: Alert) -> None:
    labels = rule(alert)["labels"]

    assert {"severity", "domain", "concern", "symptom"} == set(labels)
    assert labels["severity"] in {"critical", "warning", "info"}
    assert labels["domain"] in {"tamiyo", "tolaria", "kasmina", "simic", "esper", "gpu"}
    assert {"job", "instance"} <= set(alert.by)


@EVERY_ALERT
def test_the_runbook_explains_an_alert(alert: Alert) -> None:
    entry = runbook_entries()[alert.name]

    assert f"**What it means.** {alert.meaning}" in entry
    assert "**What to look at.**\n\n- `" in entry
    assert f"**What to do.** {alert.act}" in entry
    assert min(len(alert.meaning), len(alert.act), len(alert.reason)) > 20


@pytest.mark.parametrize(
    "module", sorted((ROOT / "esper_otel" / "alerts").glob("*.py")), ids=lambda module: module.stem
)
def test_a_text_of_the_table_stands_whole_and_is_not_put_together_from_strings(module: Path) -> None:
    arguments = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.keyword)]
    chopped = [
        f"{module.name}:{text.value.lineno}"
        for text in arguments
        if text.arg in {"summary", "reason", "meaning", "act", "sql"}
        and isinstance(text.value, ast.Constant | ast.JoinedStr | ast.BinOp)
        and text.value.lineno != text.value.end_lineno
    ]

    assert [] == chopped


def test_the_runbook_explains_no_alert_that_does_not_exist() -> None:
    assert {alert.name for alert in ALERTS} == set(runbook_entries())


def test_no_two_alerts_share_a_name() -> None:
    assert len(ALERTS) == len({alert.name for alert in ALERTS})


@EVERY_ALERT
def test_an_alert_is_proved_by_series_under_which_it_fires_and_others_under_which_it_does_not(alert: Alert) -> None:
    assert alert.fires
    assert alert.quiet
    assert alert.fires != alert.quiet


def test_deployments_can_have_links_of_their_own() -> None:
    row = rule(ALERTS[0], grafana_url="https://grafana.example", runbook_url="https://docs.example/runbook")

    assert row["annotations"]["runbook_url"].startswith("https://docs.example/runbook#")
    assert row["annotations"]["dashboard_url"].startswith("https://grafana.example/d/")


@cache
def runbook_entries() -> dict[str, str]:
    page = (ROOT / "docs" / "reference" / "runbook.md").read_text(encoding="utf-8")
    assert page == runbook.markdown()
    return {part.split("\n", 1)[0]: part for part in page.split("\n### ")[1:]}
