"""A training job with its sidecar, and how jobs end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.cluster import measured
from tests.cluster.arrived import Delivered
from tests.cluster.conftest import Lost
from tests.cluster.endings import ROUNDS, Endings, last_total, state
from tests.cluster.kubectl import TRAINING, container_of
from tests.cluster.monitoring import Prometheus
from tests.cluster.training import Training


def test_a_job_with_the_relay_as_sidecar_completes(endings: Endings) -> None:
    assert "Complete" == endings.finished.end()
    relay = container_of(endings.finished.pod, "relay")
    ended = relay["state"]["terminated"]
    trained = container_of(endings.finished.pod, "trainer")["state"]["terminated"]

    assert (0, 0) == (ended["exitCode"], relay["restartCount"])
    took = _seconds(ended["finishedAt"]) - _seconds(trained["finishedAt"])
    measured.note("job finished: time until the relay has ended, too", f"{took:.0f} s")


def test_of_a_finished_job_everything_arrives_behind_the_gateways(
    endings: Endings, lost: Lost, prometheus: Prometheus
) -> None:
    endings.finished.end()
    found = lost(endings.finished)
    measured.note("job finished", found)

    assert found.nothing
    assert (found.events, "finished") == (
        last_total(prometheus, endings.finished),
        state(prometheus, endings.finished),
    )


def test_every_signal_names_the_pod_and_comes_for_the_tenant(
    endings: Endings, lost: Lost, there: Callable[[Training], Delivered]
) -> None:
    assert "Complete" == endings.pushed.end()
    found = lost(endings.pushed)
    arrived, pod = there(endings.pushed), endings.pushed.pod["metadata"]
    measured.note("job finished, metrics by OTLP", found)

    assert found.nothing
    assert {"logs", "traces", "metrics"} == set(arrived.resources)
    for resource in arrived.resources.values():
        assert {
            "k8s.pod.name": pod["name"],
            "k8s.pod.uid": pod["uid"],
            "k8s.namespace.name": TRAINING,
            "k8s.node.name": "lab",
            "service.name": "esper-demo",
            "service.instance.id": pod["name"],
        }.items() <= resource.items()
        # From the Kubernetes API, by the agent.
        assert "k8s.pod.start_time" in resource
    assert {"training"} == arrived.tenants
    assert (found.events, ROUNDS) == (arrived.total("esper.events"), arrived.total("tolaria.batches"))


def test_of_a_killed_trainer_everything_arrives_and_the_run_has_died(
    endings: Endings, lost: Lost, prometheus: Prometheus
) -> None:
    assert "Failed" == endings.killed.end()
    found = lost(endings.killed)
    measured.note("trainer killed (SIGKILL)", found)

    assert found.nothing
    assert (found.events, "died") == (last_total(prometheus, endings.killed), state(prometheus, endings.killed))
    firing = f'ALERTS{{alertname="EsperRunDied", alertstate="firing", instance="{endings.killed.pod_name}"}}'
    assert prometheus.value(f"count(last_over_time({firing}[2h]))")


def test_of_a_trainer_that_runs_out_of_memory_everything_arrives_and_the_run_has_died(
    endings: Endings, lost: Lost, prometheus: Prometheus
) -> None:
    assert "Failed" == endings.oom.end()
    assert "OOMKilled" == container_of(endings.oom.pod, "trainer")["state"]["terminated"]["reason"]
    found = lost(endings.oom)
    measured.note("trainer out of memory", found)

    assert found.nothing
    assert (found.events, "died") == (last_total(prometheus, endings.oom), state(prometheus, endings.oom))


@pytest.mark.parametrize("name", ["deleted", "late"])
def test_of_a_deleted_pod_whose_trainer_ends_in_order_everything_arrives(
    name: str, endings: Endings, lost: Lost, prometheus: Prometheus
) -> None:
    training: Training = getattr(endings, name)
    training.wait_for_deletion()
    found = lost(training)
    when = {"deleted": "at once", "late": "after 40 s"}[name]
    measured.note(f"pod deleted, trainer ends in order {when}", found)

    assert found.nothing
    assert (found.events, "interrupted") == (last_total(prometheus, training), state(prometheus, training))


def _seconds(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
