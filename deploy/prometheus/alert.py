"""What one row of the table of alerts holds, and the one place that adds what every alert has in common."""

from functools import cache
from typing import Any, Final

import msgspec

from deploy.prometheus.expressions import ARM, counted, metric, series

KEEP: Final = "15m"
"""How long a single event goes on firing: long enough for a person to be reached, and for a flapping scrape."""

GRAFANA_URL: Final = "http://localhost:3000"
"""Where ``make up`` serves Grafana; a deployment builds the rules with its own address."""

RUNBOOK_URL: Final = "docs/runbook.md"
"""The page in this repository; a deployment builds the rules with the address that it is published under."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert.

    Attributes:
        name: alert name, and anchor in the runbook in lower case.
        domain: tamiyo, tolaria, kasmina, simic, esper or gpu; routes it and picks the dashboard.
        severity: critical pages a person, warning is for working hours, info is to be seen on a dashboard.
        expr: the expression.
        by: labels of the result, beside those that every alert gets.
        concern: what it is about; a critical alert silences the lesser ones of the same concern and run.
        summary: one line with the value.
        reason: why the threshold is what it is.
        meaning: what it says about the run.
        look: queries that tell more.
        act: what to do.
        hold: how long the expression must hold before it fires; empty for at once.
        keep: how long it goes on firing after the expression ended; empty for not at all.
        is_symptom: it follows by itself when the run died, so that the death silences it.
        fires: series, as promtool reads them, under which it must fire.
        quiet: series under which it must not.
        at: when that is looked at, from the start of the series, in minutes.
        sample: labels of the firing alert in the tests that are not the usual ones.
        counter: series of the tests, when one count of it is enough to fire.
        sql: query over the log that shows the events behind it; empty when the log holds none, None when the query
            follows from the signals of the expression (:mod:`deploy.prometheus.log_queries`).
    """

    name: str
    domain: str
    severity: str
    expr: str
    concern: str
    summary: str
    reason: str
    meaning: str
    look: tuple[str, ...]
    act: str
    fires: dict[str, str]
    quiet: dict[str, str]
    by: tuple[str, ...] = ARM
    hold: str = ""
    keep: str = ""
    is_symptom: bool = False
    at: int = 55
    sample: dict[str, str] = {}
    counter: str = ""
    sql: str | None = None


def on_count(name: str, counter: str, *, labels: dict[str, str], sample: dict[str, str], **fields: Any) -> Alert:
    """An alert that one count of ``counter`` fires, also between two scrapes.

    Args:
        name: alert name.
        counter: OpenTelemetry name of the counter.
        labels: what its labels are selected by.
        sample: labels of the series in the tests.
        fields: the other attributes of the alert.
    """
    watched = series(counter, **sample)
    by = fields.pop("by", ARM)
    return Alert(
        name=name,
        expr=counted(metric(counter, **labels), by),
        by=by,
        keep=KEEP,
        counter=watched,
        fires={watched: "0x100 1x140"},
        quiet={watched: "0x240"},
        at=26,
        sample=sample,
        **fields,
    )


def rule(alert: Alert, *, grafana_url: str = GRAFANA_URL, runbook_url: str = RUNBOOK_URL) -> dict[str, Any]:
    """The alert as a rule of Prometheus, with its labels and its links."""
    row: dict[str, Any] = {"alert": alert.name, "expr": alert.expr}
    if alert.hold:
        row["for"] = alert.hold
    if alert.keep:
        row["keep_firing_for"] = alert.keep
    row["labels"] = alert_labels(alert)
    row["annotations"] = {
        "summary": alert.summary,
        "description": f"{alert.meaning} {alert.reason}",
        **_links(alert, grafana_url, runbook_url),
    }
    return row


def alert_labels(alert: Alert) -> dict[str, str]:
    """Labels that routing, grouping and inhibition go by."""
    return {
        "severity": alert.severity,
        "domain": alert.domain,
        "concern": alert.concern,
        "symptom": "true" if alert.is_symptom else "false",
    }


def _links(alert: Alert, grafana_url: str, runbook_url: str) -> dict[str, str]:
    """Where to read on, and where to look, with the run already chosen."""
    variables = "var-job={{ $labels.job | urlquery }}&var-instance={{ $labels.instance | urlquery }}"
    if "group_id" in alert.by:
        variables += "&var-group_id={{ $labels.group_id | urlquery }}"
    panel = panels_by_alert().get(alert.name)
    if panel is not None:
        variables += f"&viewPanel=panel-{panel[1]}"
    return {
        "runbook_url": f"{runbook_url}#{alert.name.lower()}",
        "dashboard_url": f"{grafana_url}/d/esper-{alert.domain}?{variables}",
    }


@cache
def panels_by_alert() -> dict[str, tuple[str, int]]:
    """Uid of the dashboard and id of the panel that shows an alert best, by its name."""
    # The dashboards are drawn from the table of alerts: importing them with this module would be a circle.
    from grafana.alert_panels import alert_panels

    return alert_panels()
