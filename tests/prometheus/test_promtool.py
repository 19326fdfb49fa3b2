"""Prometheus' own linter has nothing to say about our metrics."""

from __future__ import annotations

import subprocess

import pytest
from prometheus_client import generate_latest

from esper_otel.relay.prometheus.exposition import FamilyCollector, registry_of
from tests.parity.every_signal import families
from tests.recorded import RECORDINGS, recording
from tests.recordings.served_run import relay_on, scrape
from tests.tools import tool
from tests.waiting import PATIENCE_S


def complaints(text: str) -> tuple[int, str]:
    """Exit status and output of ``promtool check metrics``."""
    command = [tool("promtool"), "check", "metrics"]
    ended = subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE_S)
    return ended.returncode, ended.stdout + ended.stderr


def test_promtool_has_no_complaint_about_any_metric_of_the_registry() -> None:
    registry = registry_of(FamilyCollector(families, {"service.name": "esper", "esper.run.id": "run"}))

    assert complaints(generate_latest(registry).decode()) == (0, "")


@pytest.mark.parametrize("name", RECORDINGS)
def test_promtool_has_no_complaint_about_what_a_relay_serves(name: str) -> None:
    with relay_on(recording(name)) as url:
        text = scrape(url).text

    assert text.count("# TYPE ") > 100
    assert complaints(text) == (0, "")


def test_promtool_does_complain_about_a_counter_without_its_suffix() -> None:
    status, said = complaints("# HELP tamiyo_updates Updates.\n# TYPE tamiyo_updates counter\ntamiyo_updates 1\n")

    assert status != 0
    assert 'counter metrics should have "_total" suffix' in said
