"""The runbook: an entry for every alert, written from its row of the table."""

from itertools import groupby

from deploy.prometheus.alert import GRAFANA_URL, Alert, panels_by_alert
from deploy.prometheus.alerts import ALERTS
from deploy.prometheus.log_queries import log_query

_TITLES = {
    "tamiyo": "Tamiyo: the policy",
    "tolaria": "Tolaria: the training of the host",
    "kasmina": "Kasmina: the seeds",
    "simic": "Simic: rewards and rounds",
    "esper": "Esper: the run and its telemetry",
    "gpu": "GPU, compiler and mixed precision",
}

_MEASURED = {"esper": "the relay or the collector", "gpu": "the relay"}
"""Who knows what the log of a run does not hold."""

MAX_PANELS = 4
"""Most panels that an entry names."""


def markdown() -> str:
    """The page ``docs/runbook.md``."""
    lines = [
        "# Runbook",
        "",
        "Generated from the table in `deploy/prometheus` by `make generate`; do not edit.",
        "",
        "Every alert has the labels `severity` (critical pages a person, warning is for working hours, info is for",
        "dashboards), `domain`, `concern` and `symptom`. A critical alert silences the lesser ones of its concern in",
        "the same run; a run that died, failed or vanished silences its symptoms.",
        "",
        'The queries are for the whole Prometheus: add `{job="…", instance="…"}` from the alert. In the SQL commands',
        "`RUN` is the run's directory; see [sql.md](sql.md).",
    ]
    ordered = sorted(ALERTS, key=lambda alert: list(_TITLES).index(alert.domain))
    for domain, alerts in groupby(ordered, key=lambda alert: alert.domain):
        lines += ["", f"## {_TITLES[domain]}"]
        for alert in alerts:
            lines += _entry(alert)
    return "\n".join(lines) + "\n"


def _entry(alert: Alert) -> list[str]:
    expression = [f"    {line}" for line in alert.expr.splitlines()]
    silenced = " Silenced when the run ended badly." if alert.is_symptom else ""
    waits = f", for {alert.hold}" if alert.hold else ", at once"
    return [
        "",
        f"### {alert.name}",
        "",
        f"**{alert.severity}**{waits}.{silenced}",
        "",
        f"**What it means.** {alert.meaning}",
        "",
        *expression,
        "",
        f"**Why this limit.** {alert.reason}",
        "",
        "**What to look at.**",
        "",
        *(f"- `{query}`" for query in alert.look),
        *(f"- {panel}" for panel in _panels(alert)),
        "",
        *_events(alert),
        "",
        f"**What to do.** {alert.act}",
    ]


def _panels(alert: Alert) -> list[str]:
    """The panel that the alert links to, then the others of its dashboard that show what is to be looked at."""
    # The dashboards are drawn from the table of alerts: importing them with this module would be a circle.
    from grafana.boards import board_of
    from grafana.facts import asked_by
    from grafana.panel import panel_id

    if alert.name not in panels_by_alert():
        return []
    board, (uid, linked) = board_of(alert.domain), panels_by_alert()[alert.name]
    looked_at = frozenset[str]().union(*map(asked_by, alert.look))
    shown = [panel for panel in board.panels if alert in board.alerts(panel) or looked_at & panel.signals]
    shown.sort(key=lambda panel: (panel_id(uid, panel.key) != linked, -len(looked_at & panel.signals)))
    first, *others = [f"*{panel.title}*" for panel in shown[:MAX_PANELS]]
    beside = f"; also {', '.join(others)}" if others else ""
    return [f"dashboard [{board.title}]({GRAFANA_URL}/d/{uid}?viewPanel=panel-{linked}), panel {first}{beside}"]


def _events(alert: Alert) -> list[str]:
    query = log_query(alert)
    if not query:
        return [f"**In the log.** Nothing: {_MEASURED[alert.domain]} measures this, and not the training process."]
    return ["**In the log.**", "", f'    esper-otel sql RUN "{query}"']
