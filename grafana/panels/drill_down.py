"""Links from a point on a panel to the rounds and the log events of the time shown, and from a row to its trace.

They are addresses and not Grafana's internal links, because those do not fill in the variable of a data source.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import Any, Final

TIME_SHOWN: Final = {"from": "${__from}", "to": "${__to}"}
ROUNDS: Final = (
    '{resource.service.instance.id="${instance}" && name="simic.round"}'
    " | select(span.esper.round) with (most_recent=true)"
)
EVENTS: Final = '{service_name=~".+"} | service_instance_id="${instance}"'
"""Both choose the run alone: it is one value, and needs no quoting in an address."""


def explore(source: str, query: dict[str, Any]) -> str:
    """Address of Explore with a query to the data source of the variable ``source``, in the time shown."""
    reference = f"${{{source}}}"
    asked = {"refId": "A", "datasource": {"type": source, "uid": reference}, **query}
    panes = {"a": {"datasource": reference, "queries": [asked], "range": TIME_SHOWN}}
    encoded = urllib.parse.quote(json.dumps(panes, separators=(",", ":")))
    # Grafana fills in what is still written as a variable.
    filled = re.sub(r"%24%7B([\w.]+)%7D", r"${\1}", encoded)
    return f"/explore?schemaVersion=1&orgId=1&panes={filled}"


def to_rounds_and_events() -> list[dict[str, Any]]:
    """From a point: the traces of the rounds, and the log events."""
    return [
        {"title": "Rounds in this time", "url": explore("tempo", {"queryType": "traceql", "query": ROUNDS})},
        {"title": "Log events in this time", "url": explore("loki", {"queryType": "range", "expr": EVENTS})},
    ]


def to_trace() -> list[dict[str, Any]]:
    """From a cell with a trace id: that trace."""
    query = {"queryType": "traceql", "query": "${__value.raw}"}
    return [{"title": "Trace of this round", "url": explore("tempo", query)}]
