"""Run overview: the alerts that fire, newest first, each with a link to its panel at its time."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import AlertPanels
from grafana.panels.panel import Panel
from grafana.panels.tables import table_panel
from grafana.queries.promql import Prom, raw

_LABELS: Final = ("alertname", "severity", "domain")
_RUN: Final = 'job=~"$job", instance=~"$instance"'
_FIRING: Final = f'ALERTS{{alertstate="firing", {_RUN}}}'
_SINCE: Final = f"(ALERTS_FOR_STATE{{{_RUN}}} and ignoring (alertstate) {_FIRING})"
"""Unix time since when each alert that fires was pending."""

_BEFORE_S: Final = 900
"""Time that is shown before an alert: what led to it."""

_OPEN: Final = (
    "/d/esper-${__data.fields.domain}?${job:queryparam}&${instance:queryparam}"
    "&viewPanel=panel-${__data.fields.panel.text}"
    "&from=${__data.fields.from.numeric}&to=${__data.fields.to.numeric}"
)


def _of_each(text: str, unit: str, labels: tuple[str, ...] = _LABELS) -> Prom:
    return raw(f"min by ({', '.join(labels)}) ({text})", labels=labels, unit=unit)


def firing_panel(panels: AlertPanels) -> Panel:
    """The alerts that fire, with links to ``panels``."""
    named = f'label_replace({_FIRING}, "panel", "$1", "alertname", "(.*)")'
    return table_panel(
        "alerts",
        "Alerts that fire",
        "Empty. A click on an alert opens its panel, from a quarter of an hour before the alert on.",
        ("since", _of_each(f"1000 * {_SINCE}", "dateTimeAsIso")),
        ("age", _of_each(f"time() - {_SINCE}", "s")),
        ("from", _of_each(f"1000 * ({_SINCE} - {_BEFORE_S})", "none")),
        ("to", _of_each(f"floor(0 * {_FIRING} + 1000 * time())", "none")),
        ("_", _of_each(named, "none", (*_LABELS, "panel"))),
        names={"alertname": "alert"},
        width=24,
        height=6,
        sort="since",
        links={"alert": _OPEN},
        words={
            "severity": {"critical": ("critical", "red"), "warning": ("warning", "orange"), "info": ("info", "blue")},
            "panel": {name: (str(number), "text") for name, (_, number) in sorted(panels.items())},
        },
        hidden=("panel", "from", "to"),
        empty="no alert fires, or Prometheus has no rules",
    )
