"""A run has the same series whether its relay is scraped, or pushes to a collector that is scraped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from esper_otel.signals.registry import SIGNALS
from tests.collector.collectors import Collector
from tests.recorded import recording
from tests.recordings.emit_recording import emitted
from tests.recordings.served_run import relay_on
from tests.waiting import PATIENCE_S, wait_for

TARGET = ("job", "instance")
WINDOWED = "tamiyo_max_pre_clip_grad_norm"
"""The largest value of the last minute: gone from a scrape of a finished run, while the last push was in time."""

COUNTED_BY_THE_PUSH_ITSELF = re.compile(r"esper_relay_")
"""What the relay says of its deliveries changes with the delivery that carries it."""

IDENTIFYING = ("service_name", "service_instance_id")
"""``job`` and ``instance`` in the ``target_info`` of the collector; a scraped target gets those from Prometheus."""

WITHOUT_SUM = {
    f"{signal.prometheus_name}_{part}" for signal in SIGNALS if not signal.has_sum for part in ("count", "sum")
}
"""Histograms of values that may be negative have no sum. OTLP has a count all the same, and the collector's endpoint
makes 0 of the sum."""

Key = tuple[str, tuple[tuple[str, str], ...]]


class Exposition(msgspec.Struct, frozen=True):
    """What an endpoint serves to a Prometheus, which asks for OpenMetrics."""

    text: str

    @property
    def samples(self) -> list[Sample]:
        """Every sample. Not read by the strict parser: it takes no sum below 0, which a divergence may well have."""
        return [sample for family in text_string_to_metric_families(self.text) for sample in family.samples]

    @property
    def types(self) -> dict[str, str]:
        """Type of every metric."""
        return dict(re.findall(r"^# TYPE (\S+) (\S+)$", self.text, re.MULTILINE))

    def series(self, *without: str) -> dict[Key, float]:
        """Value of every series by name and labels, the labels ``without`` left out; empty labels do not exist."""
        return {
            (s.name, tuple(sorted((k, v) for k, v in s.labels.items() if v and k not in without))): s.value
            for s in self.samples
            if s.name != WINDOWED
        }


def scraped(url: str) -> Exposition:
    """What Prometheus gets from ``url``."""
    answer = requests.get(url, headers={"Accept": "application/openmetrics-text;version=1.0.0"}, timeout=PATIENCE_S)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    return Exposition(answer.text)


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Exposition, Exposition]]:
    directory: Path = tmp_path_factory.mktemp("both")
    run = emitted(recording("esper-lite-3env-3slot"), directory / "telemetry")
    with (
        Collector("local", directory / "collector") as collector,
        relay_on(run, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url("HTTP")) as url,
    ):
        through = f"{collector.url('PROMETHEUS')}/metrics"
        wait_for(lambda: "target_info" in requests.get(through, timeout=PATIENCE_S).text, "the push")
        yield scraped(url), scraped(through)


def test_every_series_has_the_same_name_and_labels(both_ways: tuple[Exposition, Exposition]) -> None:
    direct, pushed = both_ways
    expected = set(direct.series(*IDENTIFYING))

    assert len(expected) > 500
    assert expected == {key for key in pushed.series(*TARGET) if key[0] not in WITHOUT_SUM}
    assert WITHOUT_SUM.isdisjoint(name for name, _ in expected)


def test_every_series_has_the_same_value(both_ways: tuple[Exposition, Exposition]) -> None:
    direct, pushed = (exposition.series(*TARGET, *IDENTIFYING) for exposition in both_ways)

    assert {} == {
        key: (value, pushed[key])
        for key, value in direct.items()
        if not COUNTED_BY_THE_PUSH_ITSELF.match(key[0]) and value != pushed[key]
    }


def test_every_metric_has_the_same_type(both_ways: tuple[Exposition, Exposition]) -> None:
    direct, pushed = (exposition.types for exposition in both_ways)

    assert direct == {name: kind for name, kind in pushed.items() if name != WINDOWED}


def test_the_collector_names_the_run_as_the_targets_file_of_the_relay_does(
    both_ways: tuple[Exposition, Exposition],
) -> None:
    _, pushed = both_ways

    assert {("esper", "run")} == {(sample.labels["job"], sample.labels["instance"]) for sample in pushed.samples}


def test_no_series_says_which_library_made_it(both_ways: tuple[Exposition, Exposition]) -> None:
    labels = {label for exposition in both_ways for sample in exposition.samples for label in sample.labels}

    assert not [label for label in labels if label.startswith("otel_")]
