"""The parsers of Loki and Tempo themselves take every query of the dashboards."""

from __future__ import annotations

import json
import subprocess
import urllib.parse

import pytest

from grafana.panels.drill_down import EVENTS, ROUNDS, to_rounds_and_events, to_trace
from grafana.provisioning_files import datasources
from tests.grafana.substituted import EVERYTHING, fill, targets
from tests.tools import tool
from tests.waiting import PATIENCE_S

RUN = {**EVERYTHING, "job": "esper", "instance": "20261122-231020-eda681"}
PARSER = {"loki": "logql-parser", "tempo": "traceql-parser"}


def _faults(kind: str, queries: list[str]) -> list[str]:
    """What the parser says of each query; empty texts for those that it takes."""
    asked = "".join(json.dumps(query) + "\n" for query in queries)
    answered = subprocess.run(
        [tool(PARSER[kind])], input=asked, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    return [json.loads(line) for line in answered.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["loki", "tempo"])
def test_every_query_of_a_panel_is_understood(kind: str) -> None:
    queries = {one.where: one.filled(job=RUN["job"], instance=RUN["instance"]) for one in targets(kind)}

    assert dict.fromkeys(queries, "") == dict(zip(queries, _faults(kind, list(queries.values())), strict=True))


def test_the_links_of_a_point_lead_to_queries_that_are_understood() -> None:
    assert [""] == _faults("tempo", [fill(ROUNDS, RUN)])
    assert [""] == _faults("loki", [fill(EVENTS, RUN)])


def test_the_address_of_a_link_holds_its_query_and_leaves_the_variables_to_grafana() -> None:
    for link in (*to_rounds_and_events(), *to_trace()):
        (panes,) = urllib.parse.parse_qs(urllib.parse.urlsplit(link["url"]).query)["panes"]
        (pane,) = json.loads(panes).values()

        assert pane["datasource"] == pane["queries"][0]["datasource"]["uid"]
        assert f"${{{pane['queries'][0]['datasource']['type']}}}" == pane["datasource"]
        assert pane["datasource"] in link["url"]


def test_the_link_from_a_trace_to_its_log_events_is_understood() -> None:
    (tempo,) = (source for source in datasources()["datasources"] if source["type"] == "tempo")
    query = tempo["jsonData"]["tracesToLogsV2"]["query"].replace("$$", "$")
    values = {"__tags": 'service_name="esper"', "__trace.traceId": "0af7651916cd43dd8448eb211c80319c"}
    for name, value in values.items():
        query = query.replace(f"${{{name}}}", value)

    assert [""] == _faults("loki", [query])


@pytest.mark.parametrize("kind", ["loki", "tempo"])
def test_a_broken_query_is_refused(kind: str) -> None:
    (fault,) = _faults(kind, ['{service_name=~"esper"'])

    assert "parse error" in fault
