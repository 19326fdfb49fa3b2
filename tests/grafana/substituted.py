"""Queries of the built dashboards as Grafana sends them: with every variable filled in."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from tests.tools import ROOT

DASHBOARDS = ROOT / "grafana" / "dashboards"
EVERYTHING = {"group_id": ".*", "rank": ".*", "env_id": ".*", "slot": ".*", "domain": ".+", "severity": ".+"}


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
        values = {**EVERYTHING, "job": job, "instance": instance}
        values |= {"__rate_interval": window, "__range": shown, "__interval": "15s"}
        return fill(self.text, values)


def fill(text: str, values: dict[str, str]) -> str:
    """``text`` with its variables replaced; one that has no value is an error."""
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda found: values[found[1] or found[2]], text)


def built() -> dict[str, dict[str, Any]]:
    """The committed dashboards by uid."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json")))
    return {dashboard["uid"]: dashboard for dashboard in found}


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels without the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


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
