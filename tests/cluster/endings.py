"""Jobs that run beside each other and end each in its way, and what Prometheus saw of them last."""

from __future__ import annotations

import msgspec

from tests.cluster.kubectl import TRAINING, kubectl
from tests.cluster.monitoring import Prometheus
from tests.cluster.training import Training

ROUNDS = 30


class Endings(msgspec.Struct, frozen=True):
    """The jobs.

    Attributes:
        finished: ends by itself.
        pushed: the same, with metrics by OTLP.
        killed: its trainer is killed.
        oom: its trainer needs too much memory.
        deleted: its pod is deleted, and the trainer ends in order.
        late: the same, after 40 s.
        deaf: the same, and the trainer ignores SIGTERM.
    """

    finished: Training
    pushed: Training
    killed: Training
    oom: Training
    deleted: Training
    late: Training
    deaf: Training


def begin() -> Endings:
    """All of them, each after some rounds brought to its end."""
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
    asked = f'last_over_time(esper_run_status{{instance="{training.pod_name}"}}[2h]) == 1'
    return ", ".join(each["esper_run_state"] for each in prometheus.labels(asked))


def last_total(prometheus: Prometheus, training: Training) -> float | None:
    """Number of the run's events that Prometheus saw last."""
    return prometheus.value(f'sum(last_over_time(esper_events_total{{instance="{training.pod_name}"}}[2h]))')
