"""One alert as a rule of Prometheus, with the labels and links that every rule has."""

from typing import Any, Final

from esper_otel.alerts.alert import Alert
from grafana.links import GRAFANA_URL, RUNBOOK_URL, alert_panels

BEFORE_S: Final = 3600
"""Time that the link of an alert shows: up to the last moment at which the alert fired."""


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
    """Labels used for routing, grouping and inhibition."""
    return {
        "severity": alert.severity,
        "domain": alert.domain,
        "concern": alert.concern,
        "symptom": "true" if alert.is_symptom else "false",
    }


def _links(alert: Alert, grafana_url: str, runbook_url: str) -> dict[str, str]:
    """Links to the runbook and the dashboard, with the run already chosen."""
    variables = "var-job={{ $labels.job | urlquery }}&var-instance={{ $labels.instance | urlquery }}"
    if "group_id" in alert.by:
        variables += "&var-group_id={{ $labels.group_id | urlquery }}"
    panel = alert_panels().get(alert.name)
    if panel is not None:
        variables += f"&viewPanel=panel-{panel[1]}"
    variables += f"&from={_moment(f'time() - {BEFORE_S}')}&to={_moment('time()')}"
    return {
        "runbook_url": f"{runbook_url}#{alert.name.lower()}",
        "dashboard_url": f"{grafana_url}/d/esper-{alert.domain}?{variables}",
    }


def _moment(seconds: str) -> str:
    """Template of a moment, Unix ms: an annotation knows no time but that of its evaluation."""
    asked = f'query "1000 * ({seconds})"'
    return f'{{{{ with {asked} }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ end }}}}'
