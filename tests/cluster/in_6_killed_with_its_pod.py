"""The trainer that ignores SIGTERM: last, since its pod has all of its grace period."""

from __future__ import annotations

from tests.cluster import measured
from tests.cluster.conftest import Lost
from tests.cluster.endings import Endings, last_total, state
from tests.cluster.monitoring import Prometheus
from tests.waiting import wait_for


def test_of_a_deleted_pod_whose_trainer_ignores_the_signal_the_end_is_not_scraped(
    endings: Endings, lost: Lost, prometheus: Prometheus
) -> None:
    endings.deaf.wait_for_deletion()
    found = lost(endings.deaf)
    scraped = last_total(prometheus, endings.deaf)
    measured.note(
        "pod deleted, trainer ignores SIGTERM until it is killed", f"{found}; last scrape {scraped:.0f} events"
    )
    vanished = f'ALERTS{{alertname="EsperRunVanished", alertstate="firing", instance="{endings.deaf.pod_name}"}}'
    wait_for(lambda: prometheus.value(f"count({vanished})"), "the alert", every_s=2.0)

    assert "running" == state(prometheus, endings.deaf)
