"""Marks of alerts and panels in stretched runs, asked of a real Prometheus at every scrape."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from benchmarks.calibrating.colours import Coloured
from benchmarks.calibrating.stretched import STEP_S, Stretched
from benchmarks.dashboarding.queries import Server
from esper_otel.alerts.alert import Alert
from esper_otel.backfill.command import milliseconds

OF_THE_CLOCK: Final = "time()"
"""In expressions that compare with the present: a stretched run has no heartbeats at their own pace."""


class Marked(msgspec.Struct):
    """Steps of ``of`` runs at which a value was there, was marked, was critical; names of the runs with a mark."""

    steps: int = 0
    marked: int = 0
    critical: int = 0
    of: int = 0
    runs: set[str] = msgspec.field(default_factory=set)

    def add(self, other: Marked) -> None:
        """Count the steps of another run too."""
        self.steps += other.steps
        self.marked += other.marked
        self.critical += other.critical
        self.of += other.of
        self.runs |= other.runs

    @property
    def share(self) -> str:
        """Both as per cent."""
        if not self.steps:
            return "absent | absent"
        return " | ".join(f"{100 * count / self.steps:.1f} %" for count in (self.marked, self.critical))


def judged(alerts: Iterable[Alert]) -> list[Alert]:
    """Alerts about a run that need no clock."""
    return [alert for alert in alerts if OF_THE_CLOCK not in alert.expr and "instance" in alert.by]


def firing(server: Server, alert: Alert, run: Stretched) -> list[float]:
    """Times, Unix s, of the scrapes at which an alert fires for ``run``, each series held for as long as it must."""
    hold_s = milliseconds(alert.hold) / 1000 if alert.hold else 0.0
    found: set[float] = set()
    for series in _of(server, alert.expr, run):
        since = before = 0.0
        for at, _ in series["values"]:
            since = since if since and at - before <= STEP_S else at
            before = at
            if at - since >= hold_s:
                found.add(at)
    return sorted(found)


def _of(server: Server, text: str, run: Stretched) -> Iterator[Any]:
    for series in server.between(text, run.begin_s, run.end_s, STEP_S):
        if series["metric"].get("instance") == run.name:
            yield series


def watched(alert: Alert) -> str:
    """Metric that an alert is about: the first in its expression."""
    found: list[str] = re.findall(r"\b(?:tamiyo|tolaria|kasmina|simic|esper|hw|otelcol)_\w+", alert.expr)
    return found[0]


def coloured_steps(server: Server, panel: Coloured, run: Stretched) -> dict[str, Marked]:
    """Steps of one run by line of a panel: a step of several series is as bad as the worst of them."""
    worst: dict[tuple[str, float], int] = {}
    for series in server.between(panel.asked_of(run.name), run.begin_s, run.end_s, STEP_S):
        if series["metric"].get("instance", run.name) != run.name:
            continue  # a table of all runs
        line = panel.line_of(series["metric"])
        for at, text in series["values"]:
            mark = None if text == "NaN" else panel.mark(line, float(text))
            if mark is not None:
                worst[line, at] = max(mark, worst.get((line, at), 0))
    found: dict[str, Marked] = defaultdict(Marked)
    for (line, _), mark in worst.items():
        found[line].of = 1
        found[line].steps += 1
        found[line].marked += mark > 0
        found[line].critical += mark > 1
        if mark:
            found[line].runs.add(run.name)
    return found
