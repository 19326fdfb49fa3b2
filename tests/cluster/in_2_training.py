"""A training job with its sidecar, and how jobs end."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from tests.cluster import measured
from tests.cluster.arrived import Delivered
from tests.cluster.conftest import Lost
from tests.cluster.kubectl import TRAINING, container_of, kubectl
from tests.cluster.monitoring import Prometheus
from tests.cluster.training import Training
from tests.waiting import wait_for

ROUNDS = 30


class Endings(msgspec.Struct, frozen=True):
    """Jobs that run beside each other and end each in its way."""

    finished: Training
    pushed: Training
    killed: Training
    oom: Training
    deleted: Training
    late: Training
    deaf: Training


@pytest.fixture(scope="module")
def endings(prometheus: Prometheus) -> Endings:
    """All of them, each past its tenth round and brought to its end."""
    jobs = Endings(
        finished=Training("finished", rounds=ROUNDS),
        pushed=Training("pushed", rounds=ROUNDS, metrics="otlp"),
        killed=Training("killed", rounds=600),
        oom=Training("oom", rounds=ROUNDS, ENDS="hungry", memory="256Mi"),
        deleted=Training("deleted", rounds=600),
        late=Training("late", rounds=600, CHECKPOINT_S="40"),
        deaf=Training("deaf", rounds=600, ENDS="ignores"),
    )
    for each in (jobs.killed, jobs.deleted, jobs.late, jobs.deaf):
        each.wait_for_round(20)
    jobs.killed.kill()
    for each in (jobs.deleted, jobs.late, jobs.deaf):
        kubectl("-n", TRAINING, "delete", "pod", each.pod_name, "--wait=false")
    return jobs


def state(prometheus: Prometheus, training: Training) -> str:
    """The state of the run that Prometheus saw last."""
    asked = f'last_over_time(esper_run_status{{instance="{training.pod_name}"}}[30m]) == 1'
    return ", ".join(each["esper_run_state"] for each in prometheus.labels(asked))


def last_total(prometheus: Prometheus, training: Training) -> float | None:
    """Number of the run's events that Prometheus saw last."""
    return prometheus.value(f'sum(last_over_time(esper_events_total{{instance="{training.pod_name}"}}[30m]))')


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
    assert prometheus.value(f"count(last_over_time({firing}[30m]))")


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


def _seconds(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
