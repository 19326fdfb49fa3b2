"""One metric has one name, whichever way it reaches Prometheus: our scrape, the Python exporter, a collector, OTLP."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus._mapping import sanitize_attribute
from prometheus_client.utils import floatToGoString

from esper_otel.relay.metrics.families import Family
from esper_otel.relay.prometheus.exposition import to_prometheus
from esper_otel.signals.attributes import ATTRIBUTES
from esper_otel.signals.names import UNIT_SUFFIX, problems_of_name, prometheus_label, prometheus_name
from esper_otel.signals.own import OWN_SIGNALS
from esper_otel.signals.registry import SIGNALS
from tests.parity.every_signal import families
from tests.parity.translators import GoTranslator, point, python_families, series_names

FAMILIES = families()
BY_NAME = {family.name: family for family in FAMILIES}
BOUNDS = sorted({bound for family in FAMILIES for bound in family.bounds})


def test_every_metric_of_the_registry_is_compared() -> None:
    assert {signal.name for signal in SIGNALS} | {signal.name for signal in OWN_SIGNALS} == set(BY_NAME)


def test_no_two_metrics_have_the_same_prometheus_name() -> None:
    assert len(FAMILIES) == len({family.prometheus_name for family in FAMILIES})


def test_the_go_translator_gives_every_metric_the_name_of_the_registry(go: GoTranslator) -> None:
    expected = {family.name: family.prometheus_name for family in FAMILIES}
    translated = {family.name: go.name(family.name, family.unit, family.instrument) for family in FAMILIES}

    assert expected == translated


def test_the_python_exporter_gives_every_metric_the_name_of_the_registry() -> None:
    expected = {name for family in FAMILIES for name in series_names(to_prometheus(family))}
    exported = {name for metric in python_families(FAMILIES) for name in series_names(metric)}

    assert expected == exported


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_our_scrape_says_what_the_python_exporter_makes_of_our_otlp_data(family: Family) -> None:
    ours = to_prometheus(family)
    (theirs,) = python_families([family])

    assert sorted(map(point, theirs.samples)) == sorted(map(point, ours.samples))
    assert (theirs.type, theirs.documentation) == (ours.type, ours.documentation)


def test_our_scrape_uses_the_name_that_the_catalogue_promises() -> None:
    for family in FAMILIES:
        of_histogram = ("_bucket", "_count", "_sum") if family.has_sum else ("_bucket",)
        suffixes = of_histogram if family.instrument == "histogram" else ("",)

        assert {family.prometheus_name + suffix for suffix in suffixes} == series_names(to_prometheus(family))


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_path_gives_an_attribute_the_same_label(attribute: str, go: GoTranslator) -> None:
    assert prometheus_label(attribute) == go.label(attribute)
    assert prometheus_label(attribute) == sanitize_attribute(attribute)


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bucket_has_one_le_on_every_path_but_for_a_final_zero(bound: float, go: GoTranslator) -> None:
    text = floatToGoString(bound)
    rule = re.escape(text.removesuffix(".0")) + r"(\.0)?"

    assert text == f"{bound}"
    assert all(re.fullmatch(rule, other) for other in go.bounds(bound))


@pytest.mark.parametrize("bound", [1e-5, 1_000_000.0])
def test_bounds_outside_the_allowed_range_are_spelled_differently(bound: float, go: GoTranslator) -> None:
    text = floatToGoString(bound)
    rule = re.escape(text.removesuffix(".0")) + r"(\.0)?"

    assert not all(re.fullmatch(rule, other) for other in go.bounds(bound))


WORDS = st.sampled_from(
    [
        "tamiyo",
        "seed",
        "grad_norm",
        "norm",
        "ratio",
        "rate",
        "celsius",
        "watts",
        "total",
        "bytes",
        "per",
        "_",
        "x1",
        "1",
    ]
)
NAMES = st.lists(WORDS, min_size=2, max_size=5).flatmap(
    lambda words: st.lists(st.sampled_from("._"), min_size=len(words), max_size=len(words)).map(
        lambda joints: "".join(a + b for a, b in zip(words, joints, strict=True))[:-1]
    )
)
UNITS = st.sampled_from(["", "1", "{seed}", *UNIT_SUFFIX])
INSTRUMENTS = st.sampled_from(["gauge", "counter", "updowncounter", "histogram"])


@given(NAMES, UNITS, INSTRUMENTS)
@settings(max_examples=1_500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_name_that_obeys_the_rules_is_translated_alike(
    go: GoTranslator, name: str, unit: str, instrument: str
) -> None:
    expected = prometheus_name(name, unit, instrument)

    assert problems_of_name(name, unit) or expected == go.name(name, unit, instrument)


@pytest.mark.parametrize(
    ("name", "unit", "instrument"),
    [
        ("tamiyo.entropy", "1", "gauge"),
        ("tamiyo.total.updates", "{update}", "counter"),
        ("tolaria.seconds.per.step", "s", "gauge"),
        ("tolaria.step", "{step}/s", "gauge"),
    ],
)
def test_a_name_that_the_rules_refuse_is_one_that_translators_disagree_on(
    go: GoTranslator, name: str, unit: str, instrument: str
) -> None:
    assert problems_of_name(name, unit)
    assert prometheus_name(name, unit, instrument) != go.name(name, unit, instrument)


def test_bounds_are_told_apart_by_more_than_rounding() -> None:
    assert all(not math.isclose(low, high, rel_tol=1e-3) for low, high in pairwise(BOUNDS))
