"""Marks on every time axis: starts and ends of runs, rollbacks, checkpoints, violations, alerts.

A mark has its meaning in its tooltip; its switch in the menu above the panels names its colour as well.

All come from Prometheus, so that they work without Loki. A mark costs one query for each dashboard.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from grafana_foundation_sdk.builders import dashboard as sdk

from esper_otel.alerts.promql import RUN, aggregated
from grafana.panels.panel import PROMETHEUS
from grafana.queries.promql import Prom, increase, last, minus, only_where, raw
from grafana.queries.truth import at_every_step

STEP: Final = "15s"
OVER: Final = "1m"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of annotation.

    Attributes:
        name: label of the switch above the panels.
        what: expression whose results are marked.
        colour: colour of the mark.
        title: format of the title, with labels.
        is_time: the value is the time to mark, Unix ms.
        enabled: whether it is shown by default.
    """

    name: str
    what: Prom
    colour: str
    title: str
    is_time: bool = False
    enabled: bool = True


def _counted(name: str, *by: str, **labels: str) -> Prom:
    """Start of counting after a minute of none: Grafana joins consecutive steps to a coloured region."""
    found = only_where(increase(name, *by, over=OVER, **labels), "> 0")
    before = found.text.replace(f"[{OVER}]", f"[{OVER}] offset {STEP}")
    return msgspec.structs.replace(found, text=f"({found.text}) unless ({before})")


def _started() -> Prom:
    """Time at which the process opened its log, Unix ms; of a log without heartbeats, that of the start of training.

    It is computed anew for each heartbeat; Grafana takes what lies less than a step apart for one mark.
    """
    heartbeat, uptime = (f"esper.{name}" for name in ("last_heartbeat.timestamp", "log.uptime"))
    # Heartbeats are of the process, whichever arm is chosen.
    told, opened_s = (last(name, *RUN, "rank", agg="max", group_id="~.*") for name in (heartbeat, uptime))
    opened, training = minus(told, opened_s), last("simic.training_start.timestamp", *RUN, agg="max")
    first, later = (aggregated("min", each.text, RUN) for each in (opened, training))
    return Prom(
        text=f"1000 * ({first} or on (job, instance) {later})",
        signals=(*opened.signals, *training.signals),
        labels=RUN,
        unit="dateTimeAsIso",
    )


MARKS: Final = (
    Mark(
        name="Run start",
        what=_started(),
        colour="blue",
        title="Run started",
        is_time=True,
    ),
    Mark(name="Run end", what=_counted("esper.run_ends", "outcome"), colour="blue", title="Run {{outcome}}"),
    Mark(
        name="Rollbacks",
        what=_counted("tolaria.rollbacks", "panic_reason"),
        colour="red",
        title="Rollback: {{panic_reason}}",
    ),
    Mark(
        name="Checkpoints",
        what=_counted("simic.checkpoints_saved"),
        colour="green",
        title="Checkpoint saved",
    ),
    Mark(
        name="Violations",
        what=_counted("tamiyo.grad_norm_violations", "severity", severity="critical"),
        colour="orange",
        title="Gradient norm beyond its {{severity}} limit",
    ),
    Mark(
        name="Non-finite",
        what=_counted("tamiyo.nonfinite_updates", "kind"),
        colour="dark-red",
        title="Policy update with a norm that is {{kind}}",
    ),
    Mark(
        name="Alerts",
        what=raw('ALERTS{alertstate="firing",job=~"$job",instance=~"$instance"}', labels=("alertname", "severity")),
        colour="purple",
        title="{{alertname}} ({{severity}})",
        enabled=False,
    ),
)
"""The annotations, in the order of their switches."""


def annotation_queries() -> list[Any]:
    """The marks as the SDK builds them."""
    return [_built(mark) for mark in MARKS]


def _built(mark: Mark) -> Any:
    return (
        sdk.AnnotationQuery()
        .name(f"{mark.name} ({mark.colour})")
        .datasource(PROMETHEUS)
        .enable(mark.enabled)
        .hide(False)
        .icon_color(mark.colour)
        .expr(at_every_step(mark.what.text))
        .step(STEP)
        .title_format(mark.title)
        .use_value_for_time(mark.is_time)
    )
