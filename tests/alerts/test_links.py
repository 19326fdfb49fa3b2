"""From an alert to its panel: the link opens a panel that is there and shows what the alert is about."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.prometheus.rule import rule
from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from tests.alerts.selectors_of import selectors_of
from tests.grafana.substituted import built, fill, panels_of
from tests.tools import ROOT

EVERY_ALERT = pytest.mark.parametrize("alert", ALERTS, ids=[alert.name for alert in ALERTS])
ANY_VALUES = dict.fromkeys(("job", "instance", "group_id", "rank", "env_id", "slot", "domain", "severity"), ".*")
WINDOWS = {"__rate_interval": "1m", "__range": "1h", "__interval": "15s"}
LINK = re.compile(r"\(http://localhost:3000/d/([\w-]+)\?viewPanel=panel-(\d+)\), panel \*(.+?)\*")


def linked_panel(link: str) -> dict[str, Any]:
    """The panel, as the built dashboard has it, that a link opens; fails when there is none."""
    address = urlsplit(re.sub(r"{{.*?}}", "x", link))
    (number,) = parse_qs(address.query)["viewPanel"]
    (panel,) = (each for each in panels_of(built()[address.path.split("/")[-1]]) if f"panel-{each['id']}" == number)
    return panel


def metrics_in(expression: str) -> set[str]:
    """Metrics that an expression asks for, the parts of a histogram as one."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in selectors_of(expression)}


@EVERY_ALERT
def test_the_link_of_an_alert_opens_a_panel_that_shows_a_metric_of_its_expression(alert: Alert) -> None:
    panel = linked_panel(rule(alert)["annotations"]["dashboard_url"])
    shown = {
        name
        for target in panel["targets"]
        for name in metrics_in(fill(target.get("expr", ""), {**ANY_VALUES, **WINDOWS}))
    }

    assert metrics_in(alert.expr) & shown


@EVERY_ALERT
def test_the_link_of_an_alert_opens_the_dashboard_with_its_run_chosen(alert: Alert) -> None:
    address = urlsplit(rule(alert, grafana_url="https://grafana.example")["annotations"]["dashboard_url"])
    chosen = parse_qs(address.query)

    assert ("grafana.example", f"/d/esper-{alert.domain}") == (address.netloc, address.path)
    assert ["{{ $labels.instance | urlquery }}"] == chosen["var-instance"]
    assert ("group_id" in alert.by) == ("var-group_id" in chosen)


@EVERY_ALERT
def test_the_runbook_names_the_panel_that_the_alert_opens(alert: Alert) -> None:
    page = (ROOT / "docs" / "reference" / "runbook.md").read_text(encoding="utf-8")
    entry = page.split(f"\n### {alert.name}\n")[1].split("\n### ")[0]
    ((uid, number, title),) = LINK.findall(entry)
    panel = linked_panel(rule(alert)["annotations"]["dashboard_url"])

    assert (f"esper-{alert.domain}", str(panel["id"]), panel["title"]) == (uid, number, title)
