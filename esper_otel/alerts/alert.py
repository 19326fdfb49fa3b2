"""One row of the table of alerts, as plain data."""

from typing import Any, Final

import msgspec

from esper_otel.alerts.promql import ARM, Share, counted, metric, series

KEEP: Final = "15m"
"""How long a single event goes on firing: long enough for a person to be reached, and for a flapping scrape."""


def text(block: str) -> str:
    """The words of an indented block as one paragraph: texts stand whole in the table and wrap where they are shown."""
    return " ".join(block.split())


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
        share: limit of the share that it is about, None for an alert about something else.
        least: number of updates from which on it fires, for an alert about several; 0 for another.
        at: when that is looked at, from the start of the series, in minutes.
        sample: labels of the firing alert in the tests that are not the usual ones.
        counter: series of the tests, when one count of it is enough to fire.
        sql: query over the log that shows the events behind it; empty when the log holds none, None when the query
            follows from the signals of the expression (``deploy/prometheus/log_queries.py``).
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
    share: Share | None = None
    least: int = 0
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
