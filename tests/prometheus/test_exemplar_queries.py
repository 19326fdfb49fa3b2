"""From a point in a panel to the trace of its round: what Prometheus answers about exemplars, and what it scrapes."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import msgspec
import pytest

from esper_otel.relay.metrics.exemplars import EXEMPLARS
from esper_otel.signals import SIGNALS
from tests.prometheus.real_prometheus import Prometheus, prometheus_on
from tests.recorded import recording
from tests.recordings.served_run import relay_on, scrape
from tests.relay.test_traces_recordings import lines, traced
from tests.tools import tool
from tests.waiting import PATIENCE_S

RUN = "esper-lite-3env-3slot"
NOT_MEASURED = "tolaria.batch.duration"
"""By esper-lite."""

SERIES = {signal.prometheus_name for signal in SIGNALS if signal.name in EXEMPLARS and signal.name != NOT_MEASURED}


class Scraped(msgspec.Struct, frozen=True):
    """A recording of esper-lite in Prometheus, and the address that it was scraped from."""

    prometheus: Prometheus
    url: str

    def exemplars(self, name: str) -> list[dict[str, str]]:
        """Labels of the exemplars of a histogram, over the time of the recording."""
        times_s = [record.timestamp_ns / 1e9 for record, _ in lines(RUN)]
        found = self.prometheus.exemplars(f"{name}_bucket", min(times_s) - 1, max(times_s) + 1)
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    tool("prometheus")
    directory = tmp_path_factory.mktemp("prometheus")
    targets = directory / "targets.json"
    targets.write_text("[]")
    with relay_on(recording(RUN)) as url, prometheus_on(targets, directory) as prometheus:
        address = url.removeprefix("http://").removesuffix("/metrics")
        targets.write_text(json.dumps([{"targets": [address], "labels": {"job": "esper", "instance": "run"}}]))
        prometheus.wait_for("sum_over_time(up[1m]) >= 2")
        yield Scraped(prometheus, url)


@pytest.mark.parametrize("name", sorted(SERIES))
def test_prometheus_answers_with_the_trace_and_the_span_of_a_round(scraped: Scraped, name: str) -> None:
    roots = {
        (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
        for span in traced(RUN)
        if span.name == "simic.round"
    }
    found = scraped.exemplars(name)

    assert found
    assert {(labels["trace_id"], labels["span_id"]) for labels in found} <= roots


def test_what_prometheus_asks_for_has_the_same_series_as_what_a_person_sees(scraped: Scraped) -> None:
    request = urllib.request.Request(scraped.url, headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        kind, text = answer.headers["Content-Type"], answer.read().decode()
    asked = {_without_value(line) for line in text.splitlines() if not line.startswith("#")}
    seen = {_without_value(line) for line in scrape(scraped.url).text.splitlines() if not line.startswith("#")}

    assert kind.startswith("application/openmetrics-text")
    assert len(asked) > 500
    assert asked == seen


def _without_value(line: str) -> str:
    """Name and labels of a sample, which may have an exemplar behind its value."""
    return line.split(" # ")[0].rpartition(" ")[0]
