"""Requests of each dashboard to Prometheus at every refresh, then and now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy.stack.stores import DASHBOARDS


class Requests(msgspec.Struct, frozen=True):
    """Requests of one refresh: queries of panels in open rows, for exemplars, and of annotations that are on."""

    queries: int
    exemplars: int
    annotations: int

    @property
    def together(self) -> int:
        """All of them."""
        return self.queries + self.exemplars + self.annotations


BEFORE: Final = {
    "esper-esper": Requests(44, 42, 6),
    "esper-gpu": Requests(57, 57, 6),
    "esper-kasmina": Requests(57, 37, 6),
    "esper-run": Requests(57, 46, 6),
    "esper-simic": Requests(55, 28, 6),
    "esper-tamiyo": Requests(110, 101, 6),
    "esper-tolaria": Requests(53, 41, 6),
}
"""The same of the dashboards of commit 13c74d2, which had one query for each line and asked for exemplars of all."""


def requests(path: Path) -> Requests:
    """Requests of the dashboard in one file; closed rows and Loki's and Tempo's panels ask nothing of Prometheus."""
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked = [
        target
        for panel in board["panels"]
        for target in panel.get("targets", [])
        if target["datasource"]["type"] == "prometheus"
    ]
    annotations = sum(
        one["enable"] and one["datasource"].get("type") == "prometheus" for one in board["annotations"]["list"]
    )
    return Requests(len(asked), sum(bool(one.get("exemplar")) for one in asked), annotations)


def table() -> list[str]:
    """Lines of the table."""
    now = {path.stem: requests(path) for path in sorted(DASHBOARDS.glob("*.json"))}
    titles = {path.stem: json.loads(path.read_text(encoding="utf-8"))["title"] for path in DASHBOARDS.glob("*.json")}
    rows = [(titles[uid], BEFORE.get(uid), one) for uid, one in now.items()]
    lines = [
        "| dashboard | before: queries | exemplars | marks | all | now: queries | exemplars | marks | all |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(f"| {title} | {_cells(before)} | {_cells(one)} |" for title, before, one in rows),
    ]
    return [*lines, f"| together | {_cells(_sum(BEFORE.values()))} | {_cells(_sum(now.values()))} |"]


def _cells(one: Requests | None) -> str:
    if one is None:
        return "– | – | – | –"
    return f"{one.queries} | {one.exemplars} | {one.annotations} | {one.together}"


def _sum(every: Any) -> Requests:
    return Requests(*map(sum, zip(*(msgspec.structs.astuple(one) for one in every), strict=True)))
