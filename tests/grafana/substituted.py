"""Queries of the built dashboards as Grafana sends them: with every variable filled in."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from grafana.boards import BOARDS
from grafana.queries.promql import Prom
from grafana.queries.truth import at_every_step, at_the_end
from tests.tools import ROOT

DASHBOARDS = ROOT / "grafana" / "dashboards"
EVERYTHING = {"group_id": ".*", "rank": ".*", "env_id": ".*", "slot": ".*", "domain": ".+", "severity": ".+"}
EVERYTHING |= {"smoothing": "5m", "point": "2", "left_out": "none"}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One query of one panel of one dashboard, as it stands in the JSON."""

    uid: str
    panel: str
    ref: str
    kind: str
    text: str
    legend: str = ""
    instant: bool = False

    @property
    def where(self) -> str:
        """For messages and test ids."""
        return f"{self.uid}/{self.panel}/{self.ref}"

    def filled(self, *, job: str, instance: str, window: str = "1m", shown: str = "15m") -> str:
        """The text with the run chosen and everything else on All."""
        values = {**EVERYTHING, "job": job, "instance": instance, "runs": instance}
        values |= {"__rate_interval": window, "__range": shown, "__interval": "15s"}
        return fill(self.text, values)


def fill(text: str, values: dict[str, str]) -> str:
    """``text`` with its variables replaced; one that has no value is an error."""
    return re.sub(r"\$([a-z_]\w*)|\$\{(\w+)\}", lambda found: values[found[1] or found[2]], text)


def built() -> dict[str, dict[str, Any]]:
    """The committed dashboards by uid."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json")))
    return {dashboard["uid"]: dashboard for dashboard in found}


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels without the rows, those of closed rows included."""
    everything = (one for shown in dashboard["panels"] for one in (shown, *shown.get("panels", ())))
    return [panel for panel in everything if panel["type"] != "row"]


def targets(kind: str) -> list[Target]:
    """Every query to a kind of data source: prometheus, loki or tempo."""
    return [
        Target(
            uid=uid,
            panel=panel["title"],
            ref=target["refId"],
            kind=kind,
            text=target.get("expr") or target["query"],
            legend=target.get("legendFormat", ""),
            instant=bool(target.get("instant")),
        )
        for uid, dashboard in built().items()
        for panel in panels_of(dashboard)
        for target in panel.get("targets", [])
        if target["datasource"]["type"] == kind
    ]


def lines() -> list[Target]:
    """Every line of every panel that Prometheus is asked for, alone; a panel joins its own to one query."""
    return [
        Target(
            uid=board.uid,
            panel=panel.title,
            ref=chr(ord("A") + index),
            kind="prometheus",
            text=(at_the_end if query.instant else at_every_step)(query.what.text),
            legend=query.legend,
            instant=query.instant,
        )
        for board in BOARDS
        for panel in board.panels
        for index, query in enumerate(panel.queries)
        if isinstance(query.what, Prom)
    ]
