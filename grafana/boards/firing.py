"""Run overview: the alerts of the run, firing or resolved, each with a link to its panel at its time."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import AlertPanels
from grafana.panels.panel import Panel
from grafana.panels.tables import table_panel
from grafana.queries.promql import Prom, raw
from grafana.queries.truth import KEPT

_LABELS: Final = ("alertname", "severity", "domain")
_RUN: Final = 'job=~"$job", instance=~"$instance"'
_FIRING: Final = f'ALERTS{{alertstate="firing", {_RUN}}}'
_FIRED: Final = f"last_over_time({_FIRING}[{KEPT}])"
_SINCE: Final = f"(max_over_time(ALERTS_FOR_STATE{{{_RUN}}}[{KEPT}]) and ignoring (alertstate) {_FIRED})"
"""Unix time since when each alert that fires was pending; of one that resolved, the last time that it was."""

_BEFORE_S: Final = 900
"""Time that is shown before an alert: what led to it."""

_AFTER_S: Final = 1800
"""Time that is shown after the start of an alert that resolved."""

_OPEN: Final = (
    "/d/esper-${__data.fields.domain}?${job:queryparam}&${instance:queryparam}"
    "&viewPanel=panel-${__data.fields.panel.text}"
    "&from=${__data.fields.from.numeric}&to=${__data.fields.to.numeric}"
)


def _by(text: str, labels: tuple[str, ...] = _LABELS) -> str:
    return f"min by ({', '.join(labels)}) ({text})"


def _column(text: str, unit: str, labels: tuple[str, ...] = _LABELS) -> Prom:
    return raw(text, labels=labels, unit=unit)


def firing_panel(panels: AlertPanels) -> Panel:
    """The alerts that fire or fired, with links to ``panels``."""
    named = f'label_replace({_FIRED}, "panel", "$1", "alertname", "(.*)")'
    first, now = f"1000 * {_SINCE}", f"floor(0 * {_FIRING} + 1000 * time())"
    return table_panel(
        "alerts",
        "Alerts of the run",
        "None fires. One that resolved stays in the list. A click on an alert opens its panel, from a quarter of an "
        "hour before the alert on.",
        ("state", _column(f"{_by(_FIRING)} or 0 * {_by(_FIRED)}", "none")),
        ("since", _column(_by(first), "dateTimeAsIso")),
        ("age", _column(f"time() - {_by(f'{_SINCE} and ignoring (alertstate) {_FIRING}')}", "s")),
        ("from", _column(f"{_by(first)} - {1000 * _BEFORE_S}", "none")),
        ("to", _column(f"{_by(now)} or {_by(first)} + {1000 * _AFTER_S}", "none")),
        ("_", _column(_by(named, (*_LABELS, "panel")), "none", (*_LABELS, "panel"))),
        names={"alertname": "alert"},
        width=24,
        height=6,
        sort=("state", "since"),
        links={"alert": _OPEN},
        words={
            "severity": {"critical": ("critical", "red"), "warning": ("warning", "orange"), "info": ("info", "blue")},
            "state": {0: ("resolved", "#8e8e8e"), 1: ("firing", "text")},
            "panel": {name: (str(number), "text") for name, (_, number) in sorted(panels.items())},
        },
        hidden=("panel", "from", "to"),
        empty="no alert has fired, or Prometheus has no rules",
    )
