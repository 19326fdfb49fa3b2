"""Limits of the built panels: each line of each panel, and the colour of a value."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from benchmarks.dashboarding.queries import COMPARED
from benchmarks.dashboarding.queries import VALUES as CHOSEN
from deploy.stack.stores import DASHBOARDS
from esper_otel.alerts.promql import BY_NAME
from grafana.panels.limits import SIGN, limits_of
from grafana.panels.panel import steps
from grafana.queries.facts import signals_in

VALUES: Final = {
    **CHOSEN,
    **COMPARED,
    "left_out": "none",
    "job": ".+",
    "__rate_interval": "1m",
    "__interval": "15s",
    "__range": "1h",
}
MARKS: Final = {"semi-dark-orange": 1, "orange": 1, "red": 2, "dark-red": 2}
"""Colours that mark a value: as a warning or as critical."""

_NAME: Final = re.compile(r', "line", "([^"]*)", "[^"]*", "[^"]*"\)$')
_NAMED: Final = re.compile(r"\$([a-z_]\w*)|\$\{(\w+)\}")

Steps = list[dict[str, Any]]

ONE: Final = 0.5
"""Limit of counts: between 0 and 1."""


class Coloured(msgspec.Struct, frozen=True):
    """One query of a panel that has limits.

    Attributes:
        dashboard: title of the dashboard.
        panel: title of the panel.
        text: the query, with variables.
        legend: legend with labels in braces.
        every: limits of the panel.
        each: limits of lines or columns by a regular expression.
        without: lines of a chart that its limits are not about, as regular expressions.
    """

    dashboard: str
    panel: str
    text: str
    legend: str
    every: Steps
    each: list[tuple[str, Steps]]
    without: tuple[str, ...]

    def asked_of(self, run: str) -> str:
        """The query for one run and everything else."""
        values = {**VALUES, "instance": run, "runs": run}
        return _NAMED.sub(lambda name: values[name[1] or name[2]], self.text)

    def line_of(self, labels: dict[str, str]) -> str:
        """Name of the line or column of a series; lines that differ in a label are one."""
        return labels.get("line") or re.sub(r"\{\{\w+\}\}", "", self.legend).strip(" ·")

    def limits_of(self, line: str) -> Steps:
        """Colours of a line from value to value; fewer than two where it has no limits."""
        default = [] if any(re.fullmatch(pattern, line) for pattern in self.without) else self.every
        return next((own for pattern, own in self.each if re.fullmatch(pattern, line)), default)

    def is_count(self, line: str) -> bool:
        """Return True if a line counts what should not happen, so that it is coloured from the first one on."""
        return [step["value"] for step in self.limits_of(line)] == [None, ONE]

    def mark(self, line: str, value: float) -> int | None:
        """0, 1 for a warning, 2 for critical; None for a line without limits."""
        found = self.limits_of(line)
        if len(found) < 2:
            return None
        place = bisect_right([step["value"] for step in found[1:]], value)
        return MARKS.get(found[place]["color"], 0)


def coloured() -> Iterator[Coloured]:
    """Every query to Prometheus of a panel with limits, closed rows too."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in (one for shown in board["panels"] for one in (shown, *shown.get("panels", ()))):
            field = panel.get("fieldConfig", {})
            every = field.get("defaults", {}).get("thresholds", {}).get("steps", [])
            each = [(_pattern(one["matcher"]), steps) for one in field.get("overrides", []) if (steps := _steps(one))]
            if (len(every) < 2 and not each) or every == _SIGN:
                continue
            for target in panel.get("targets", []):
                if target["datasource"]["type"] == "prometheus":
                    legend = target.get("legendFormat", "")
                    without = _others(target["expr"], every) if panel["type"] == "timeseries" else ()
                    yield Coloured(board["title"], panel["title"], target["expr"], legend, every, each, without)


def _others(text: str, every: Steps) -> tuple[str, ...]:
    """Lines of a query whose signals have other limits, or none: dashes are drawn once for the whole chart."""
    drawn = {name for name in BY_NAME if (own := limits_of(name)) is not None and _plain(steps(own)) == every}
    lines = [(part, _NAME.search(part)) for part in re.split(r" or (?=label_replace\()", text)]
    return tuple(
        re.escape(name[1]).replace(r"\$1", ".*")
        for part, name in lines
        if name and drawn and not signals_in(part) & drawn
    )


def _plain(built: Any) -> Steps:
    return [{"color": step.color, "value": step.value} for step in built.build().steps]


def _pattern(matcher: dict[str, Any]) -> str:
    return str(matcher["options"]) if matcher["id"] == "byRegexp" else re.escape(str(matcher["options"]))


def _steps(override: dict[str, Any]) -> Steps:
    return next((one["value"]["steps"] for one in override["properties"] if one["id"] == "thresholds"), [])


_SIGN: Final = _plain(steps(SIGN))
"""Colours of a sign, which is no limit."""
