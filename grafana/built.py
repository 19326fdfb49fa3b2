"""Parts of a built dashboard."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

ROWS: Final = "row"


def panels_of(dashboard: Json) -> list[Json]:
    """Its panels without the rows, those of closed rows included."""
    return [panel for panel in everything_on(dashboard) if panel["type"] != ROWS]


def everything_on(dashboard: Json) -> list[Json]:
    """Its rows and panels in order; Grafana keeps the panels of a closed row inside it."""
    return [one for shown in dashboard["panels"] for one in (shown, *shown.get("panels", ()))]


def asked_of_prometheus(panel: Json) -> list[Json]:
    """Its queries to Prometheus."""
    return [one for one in panel.get("targets", ()) if one["datasource"]["type"] == "prometheus"]
