"""A scrape is made from templates, and is byte for byte what the client library writes."""

from __future__ import annotations

import gzip
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from esper_otel.relay.metrics.families import Exemplar, Family, HistogramPoint
from esper_otel.relay.prometheus import application, templates
from esper_otel.relay.prometheus.exposition import FamilyCollector, registry_of
from esper_otel.relay.prometheus.server import ScrapeServer
from esper_otel.relay.prometheus.templates import Templates

FORMATS = pytest.mark.parametrize("encode", [generate_latest, openmetrics])
BOUNDS = (-0.5, 0.0, 1e-9, 1e7)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 10**18).map(float)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ['a"b', "c\\d", "e\nf g 1", "\u2028"]
)
VALUES = st.tuples(TEXTS, TEXTS)
HISTOGRAMS = st.builds(
    HistogramPoint,
    counts=st.lists(st.integers(0, 10**9), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1),
    sum=NUMBERS,
    count=st.integers(0, 10**12),
)
EXEMPLARS = st.builds(
    Exemplar,
    value=NUMBERS,
    timestamp_ns=st.integers(0, 2**62),
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
)


def family(instrument: str, points: dict[Any, Any], **more: Any) -> Family:
    name = f"tamiyo_{instrument}"
    return Family(
        name=name,
        prometheus_name=name,
        instrument=instrument,
        unit="",
        description='Words with a \\ and a\nline, and "quotes".',
        attributes=("group_id", "head"),
        points=points,
        **more,
    )


@st.composite
def states(draw: st.DrawFn) -> list[Family]:
    """What a scrape finds: some families with some points."""
    found = [
        family(instrument, draw(st.dictionaries(VALUES, NUMBERS, max_size=4)))
        for instrument in draw(st.sets(st.sampled_from(["gauge", "counter", "updowncounter"])))
    ]
    points = draw(st.dictionaries(VALUES, HISTOGRAMS, max_size=3))
    exemplars = {
        values: draw(st.dictionaries(st.integers(0, len(BOUNDS)), EXEMPLARS, max_size=2))
        for values in points
        if draw(st.booleans())
    }
    return [*found, family("histogram", points, bounds=BOUNDS, has_sum=draw(st.booleans()), exemplars=exemplars)]


def written(encode: Callable[[CollectorRegistry], bytes], collector: FamilyCollector) -> str:
    """The library's text."""
    return encode(registry_of(collector)).decode()


@FORMATS
@given(history=st.lists(states(), min_size=1, max_size=4), again=st.data())
def test_every_scrape_of_a_history_is_what_the_library_writes(
    encode: Callable[[CollectorRegistry], bytes], history: list[list[Family]], again: st.DataObject
) -> None:
    made = Templates(encode)
    for state in history:
        for shown in (state, _other_numbers(state, again)):
            collector = FamilyCollector(lambda shown=shown: shown, {"service.name": "a b\u2028c"})

            assert _unsigned(written(encode, collector)) == _unsigned(made.text(collector))


def _unsigned(text: str) -> str:
    """``text`` in which a 0 with a sign is a 0."""
    return "\n".join(
        f"{line.removesuffix(' -0.0')} 0.0" if line.endswith(" -0.0") else line for line in text.split("\n")
    )


def _other_numbers(state: list[Family], data: st.DataObject) -> list[Family]:
    """The same points with other numbers: what templates are for."""
    return [
        family(
            one.instrument,
            {values: data.draw(HISTOGRAMS if one.bounds else NUMBERS) for values in one.points},
            bounds=one.bounds,
            has_sum=one.has_sum,
            exemplars=one.exemplars,
        )
        for one in state
    ]


def test_only_numbers_are_written_anew_while_the_points_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    translated: list[str] = []

    def noted(one: Family) -> Any:
        translated.append(one.name)
        return templates_translate(one)

    templates_translate = templates.to_prometheus
    monkeypatch.setattr(templates, "to_prometheus", noted)
    made = Templates(generate_latest)

    for number in (1.0, 2.0, 3.0):
        text = made.text(FamilyCollector(lambda number=number: [family("gauge", {("A", "op"): number})], {}))
        assert f'{{group_id="A",head="op"}} {number}\n' in text

    assert ["tamiyo_gauge"] == translated


@pytest.fixture
def server() -> Iterator[ScrapeServer]:
    serving = ScrapeServer(FamilyCollector(lambda: [family("gauge", {("A", "op"): 1.0})], {}), "127.0.0.1", 0)
    yield serving
    serving.stop()


def _asked(server: ScrapeServer, path: str = "/metrics", **headers: str) -> tuple[bytes, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}{path}", headers=headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read(), answer.headers["Content-Type"]


def test_a_scraper_that_takes_gzip_gets_the_same_text_compressed(server: ScrapeServer) -> None:
    plain, kind = _asked(server)
    compressed, _ = _asked(server, **{"Accept-Encoding": "gzip"})

    assert plain == gzip.decompress(compressed)
    assert "text/plain; version=0.0.4; charset=utf-8" == kind


def test_a_scraper_gets_the_format_that_it_asks_for(server: ScrapeServer) -> None:
    text, kind = _asked(server, Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")

    assert text.endswith(b"# EOF\n")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")


def test_nobody_can_make_the_relay_keep_templates_without_end(server: ScrapeServer) -> None:
    app = application.Application(FamilyCollector(list, {}))
    for number in range(100):
        accept = f"application/openmetrics-text;version=1.{number}.0"
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "HTTP_ACCEPT": accept}
        app(environ, lambda status, headers: None)

    assert application.FORMATS >= len(app._templates)
