"""Alerts on agents and gateways: they fire for what a backend does to them, and end with it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cluster import backend, measured
from tests.cluster.conftest import Lost
from tests.cluster.kubectl import GATEWAY, OBSERVABILITY, objects, wait_for_collectors
from tests.cluster.monitoring import Prometheus
from tests.cluster.training import Training
from tests.waiting import PATIENCE_S, wait_for

ROUNDS = 12


@pytest.fixture
def answers_400() -> Iterator[None]:
    """Backends that reject everything for good."""
    answer = backend.DIRECTORY / "answer"
    answer.write_text("400")
    yield
    answer.unlink(missing_ok=True)


def gateways() -> set[str]:
    """Names of the gateways' pods."""
    return {pod["metadata"]["name"] for pod in objects("pods", OBSERVABILITY, GATEWAY)}


def test_a_backend_that_is_away_for_ten_minutes_is_alerted_on_and_nothing_is_lost(
    prometheus: Prometheus, lost: Lost
) -> None:
    training = Training("backend-away-long", rounds=ROUNDS)
    training.wait_for_round(3)
    backend.go_away()
    began = time.monotonic()
    firing = 'ALERTS{alertname="EsperCollectorNotSending", alertstate="firing"}'
    found = wait_for(lambda: prometheus.labels(firing), "the alert", 2 * PATIENCE_S, every_s=5.0)
    after = time.monotonic() - began
    backend.come_back()
    wait_for_collectors()

    assert "Complete" == training.end()
    assert {labels["instance"] for labels in found} <= gateways()
    measured.note("backends away: until `EsperCollectorNotSending` fires", f"{after:.0f} s")
    losses = lost(training)
    measured.note("the same run, after the backends came back", losses)
    assert losses.nothing
    wait_for(lambda: not prometheus.labels(firing), "the end of the alert", every_s=5.0)


def test_what_a_backend_rejects_for_good_is_alerted_on(prometheus: Prometheus, answers_400: None) -> None:
    training = Training("backend-400", rounds=ROUNDS)
    assert "Complete" == training.end()
    firing = 'ALERTS{alertname="EsperCollectorSendFailed", alertstate="firing"}'
    found = wait_for(lambda: prometheus.labels(firing), "the alert", every_s=2.0)

    assert {labels["instance"] for labels in found} <= gateways()
    assert {labels["kind"] for labels in found} <= {"spans", "metric_points", "log_records"}
