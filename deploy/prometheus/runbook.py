"""The runbook: an entry for every alert, written from its row of the table."""

import re
from itertools import groupby

from deploy.prometheus.limit_text import limit_text
from deploy.prometheus.log_queries import log_query
from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from grafana.boards import board_of
from grafana.links import GRAFANA_URL, alert_panels
from grafana.panels.panel import panel_id
from grafana.queries.facts import asked_by

_TITLES = {
    "tamiyo": "Tamiyo: the policy",
    "tolaria": "Tolaria: the training of the host",
    "kasmina": "Kasmina: the seeds",
    "simic": "Simic: rewards and rounds",
    "esper": "Esper: the run and its telemetry",
    "gpu": "GPU, compiler and mixed precision",
}

_MEASURED = {"esper": "the relay or the collector", "gpu": "the relay"}
"""Source of the signals that are not in a run's log."""

MAX_PANELS = 4
"""Most panels that an entry names."""


def markdown() -> str:
    """The page ``docs/reference/runbook.md``."""
    lines = [
        "# Runbook",
        "",
        "Generated from the table in `esper_otel/alerts` by `make generate`; do not edit.",
        "",
        "Every alert has the labels `severity` (critical pages a person, warning is for working hours, info is for",
        "dashboards), `domain`, `concern` and `symptom`. A critical alert silences the lesser ones of its concern in",
        "the same run; a run that died, failed or vanished silences its symptoms.",
        "",
        'The queries are for the whole Prometheus: add `{job="…", instance="…"}` from the alert. In the SQL commands',
        "`RUN` is the run's directory; see [sql.md](../guides/sql.md). They can be pasted into a shell as they are.",
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
        f"**What it means.** {alert.meaning} {limit_text(alert)}".rstrip(),
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
    """Links to the alert's panel and to the other relevant panels of its dashboard."""
    if alert.name not in alert_panels():
        return []
    board, (uid, linked) = board_of(alert.domain), alert_panels()[alert.name]
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
    return ["**In the log.**", "", f"    esper-otel sql RUN {_quoted(query)}"]


def _quoted(text: str) -> str:
    """``text`` as one word of a shell, in double quotes, since SQL is full of single ones."""
    return '"' + re.sub(r'(["\\$`])', r"\\\1", text) + '"'
