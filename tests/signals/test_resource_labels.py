"""Resource attributes as labels of ``target_info``: whatever people call theirs, the scrape works."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from esper_otel.relay.otlp.encoded import OtlpRequest
from esper_otel.relay.otlp.exporters import resource_from_env
from esper_otel.relay.prometheus.exposition import FamilyCollector, registry_of
from esper_otel.signals.names import resource_labels

LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def served(attributes: dict[str, str]) -> dict[str, str]:
    """Labels of ``target_info`` as a scraper reads them."""
    text = generate_latest(registry_of(FamilyCollector(list, attributes))).decode()
    [family] = text_string_to_metric_families(text)
    [sample] = family.samples
    return sample.labels


@pytest.mark.parametrize(
    ("attributes", "labels"),
    [
        ({"host.name": "vm"}, {"host_name": "vm"}),
        ({"host.name": "vm", "host-name": "node7"}, {"host_name": "node7;vm"}),
        ({"a.b": "2", "a-b": "1", "a_b": "3"}, {"a_b": "1;2;3"}),
        ({"__name__": "up", "k": "v"}, {"k": "v"}),
        ({"--name--": "up", "k": "v"}, {"k": "v"}),
        ({"": "x", ".": "x", "ü": "x", "k": "v"}, {"k": "v"}),
        ({"3d": "x"}, {"key_3d": "x"}),
        ({"größe": 'a"b\nc\\'}, {"gr__e": 'a"b\nc\\'}),
        ({"process.pid": 7}, {"process_pid": "7"}),
    ],
)
def test_an_attribute_gets_a_label_that_prometheus_takes(attributes: dict[str, str], labels: dict[str, str]) -> None:
    assert labels == resource_labels(attributes)
    assert labels == served(attributes)


@given(st.dictionaries(st.text(max_size=12), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)))
def test_whatever_the_attributes_are_called_every_label_stands_there_once(attributes: dict[str, str]) -> None:
    collector = FamilyCollector(list, attributes)
    [info] = collector.collect()
    names = info.samples[0].labels

    assert all(LABEL.fullmatch(name) and not name.startswith("__") for name in names)
    assert generate_latest(registry_of(collector)).count(b"\n") == 3
    assert generate_openmetrics(registry_of(collector)).count(b"\n") == 4


def test_a_variable_that_is_no_utf_8_takes_neither_the_scrape_nor_the_export_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "a\udcff=b\udcff,c=d")
    resource = resource_from_env({"service.name": "esper"})

    assert {"a_": "b?", "c": "d"}.items() <= served(resource.attributes).items()
    assert b"b?" in OtlpRequest(resource).encode([])
    assert isinstance(resource, Resource)


@pytest.mark.parametrize("value", ["", " ", "%20"])
def test_an_empty_value_takes_neither_the_instance_nor_the_job_away(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """``service.instance.id=$POD_NAME`` where the other variable is not set: runs could not be told apart."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"service.instance.id={value},team={value}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", value.replace("%20", ""))
    attributes = resource_from_env({"service.name": "esper", "service.instance.id": "r"}).attributes

    assert ("esper", "r") == (attributes["service.name"], attributes["service.instance.id"])
