"""What is lost while names are not resolved, and when there is no agent at the end of a run."""

from __future__ import annotations

import time

import pytest

from tests.cluster import measured
from tests.cluster.conftest import Lost, until_done
from tests.cluster.kubectl import OBSERVABILITY, container_of, kubectl, objects, wait_for_collectors
from tests.cluster.training import Training
from tests.waiting import wait_for

AWAY_S = 30.0
NO_NODE = '{"spec": {"template": {"spec": {"nodeSelector": {"there": "is-none"}}}}}'
ANY_NODE = '{"spec": {"template": {"spec": {"nodeSelector": null}}}}'
AGENTS = ("-n", OBSERVABILITY, "patch", "daemonset", "esper-agent", "-p")
DNS = ("-n", "kube-system", "scale", "deployment/coredns")

pytestmark = pytest.mark.usefixtures("prometheus")


def test_nothing_is_lost_while_names_are_not_resolved(lost: Lost) -> None:
    training = Training("no-names")
    training.wait_for_round(6)
    kubectl(*DNS, "--replicas=0")
    time.sleep(AWAY_S)
    kubectl(*DNS, "--replicas=1")
    until_done("-n", "kube-system", "rollout", "status", "deployment/coredns")

    assert "Complete" == training.end()
    found = lost(training)
    measured.note(f"DNS away for {AWAY_S:.0f} s", found)
    assert found.nothing


def test_what_no_agent_took_is_in_the_claim_and_a_relay_delivers_it_later(lost: Lost) -> None:
    training = Training("no-agent", rounds=24)
    training.wait_for_round(6)
    kubectl(*AGENTS, NO_NODE)
    try:
        assert "Complete" == training.end()
    finally:
        kubectl(*AGENTS, ANY_NODE)
    wait_for(lambda: objects("pods", OBSERVABILITY, "app.kubernetes.io/name=esper-agent"), "an agent", every_s=0.5)
    wait_for_collectors()
    found = lost(training)
    measured.note("no agent from the 6th round to the end of the relay's time", found)

    assert 3 == container_of(training.pod, "relay")["state"]["terminated"]["exitCode"]
    assert found.lost_events > 0

    assert "Succeeded" == training.deliver_later()
    found = lost(training)
    measured.note("the same, after `esper-otel relay RUN` on the claim", found)
    assert found.nothing
