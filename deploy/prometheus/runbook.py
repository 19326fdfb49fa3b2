"""The runbook: an entry for every alert, written from its row of the table."""

from itertools import groupby

from deploy.prometheus.alert import Alert
from deploy.prometheus.alerts import ALERTS

_TITLES = {
    "tamiyo": "Tamiyo: the policy",
    "tolaria": "Tolaria: the training of the host",
    "kasmina": "Kasmina: the seeds",
    "simic": "Simic: rewards and rounds",
    "esper": "Esper: the run and its telemetry",
    "gpu": "GPU, compiler and mixed precision",
}


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
        'The queries are for the whole Prometheus: add `{job="…", instance="…"}` from the alert.',
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
        "",
        f"**What to do.** {alert.act}",
    ]
