"""Who reaches what, with the shipped network policies enforced."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from scripts.cluster.images import TRAINER, USER
from tests.cluster import measured
from tests.cluster.kubectl import (
    AGENT,
    GATEWAY,
    MONITORING,
    OBSERVABILITY,
    TRAINING,
    apply,
    kubectl,
    objects,
    one,
)
from tests.cluster.training import Training
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("installed")

STRANGER, OTHER, SCRAPER, SENDER = "stranger", "other-in-training", "prometheus", "trainer"
PROBES = {
    STRANGER: ("default", {}),
    OTHER: (TRAINING, {}),
    SCRAPER: (MONITORING, {"app.kubernetes.io/name": "prometheus"}),
    SENDER: (TRAINING, {"app.kubernetes.io/component": "trainer"}),
}
"""Namespace and labels of the pods that try to connect."""

PROGRAM = """
import json, socket, sys
found = {}
for target in json.loads(sys.argv[1]):
    address, _, port = target.partition(":")
    try:
        socket.create_connection((address, int(port)), timeout=3).close()
        found[target] = True
    except OSError:
        found[target] = False
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def reached() -> Iterator[dict[str, set[str]]]:
    """What each of the pods reaches, as kind:port."""
    training = Training("watched", rounds=600)
    training.wait_for_round(1)
    agent, gateway = (objects("pods", OBSERVABILITY, each)[0]["status"]["podIP"] for each in (AGENT, GATEWAY))
    addresses = {"agent": agent, "gateway": gateway, "relay": training.pod["status"]["podIP"]}
    ports = {"agent": (4317, 4318, 8888, 13133), "gateway": (4317, 8888, 13133), "relay": (9464,)}
    targets = {f"{addresses[kind]}:{port}": f"{kind}:{port}" for kind in ports for port in ports[kind]}
    for name, (namespace, labels) in PROBES.items():
        apply(probe(name, namespace, labels))
    for name, (namespace, _) in PROBES.items():
        wait_for(lambda n=name, s=namespace: one("pod", s, f"probe-{n}")["status"]["phase"] == "Running", "the probe")
    found = {}
    for name, (namespace, _) in PROBES.items():
        asked = ["python", "-c", PROGRAM, json.dumps(list(targets))]
        answers = json.loads(kubectl("-n", namespace, "exec", f"probe-{name}", "--", *asked))
        found[name] = {targets[target] for target, is_open in answers.items() if is_open}
    yield found
    for name, (namespace, _) in PROBES.items():
        kubectl("-n", namespace, "delete", "pod", f"probe-{name}", "--grace-period=0", "--force")
    kubectl("-n", TRAINING, "delete", "job", training.name, "--wait=false")


def test_a_pod_outside_reaches_nothing(reached: dict[str, set[str]]) -> None:
    measured.note("reached by a pod of another namespace", ", ".join(sorted(reached[STRANGER])) or "nothing")

    assert set() == reached[STRANGER]


def test_a_pod_of_training_that_is_no_trainer_reaches_nothing(reached: dict[str, set[str]]) -> None:
    assert set() == reached[OTHER]


def test_prometheus_reaches_what_it_scrapes_and_nothing_else(reached: dict[str, set[str]]) -> None:
    measured.note("reached by Prometheus", ", ".join(sorted(reached[SCRAPER])))

    assert {"agent:8888", "gateway:8888", "relay:9464"} == reached[SCRAPER]


def test_a_trainer_reaches_the_agent_and_nothing_else(reached: dict[str, set[str]]) -> None:
    measured.note("reached by a trainer", ", ".join(sorted(reached[SENDER])))

    assert {"agent:4317", "agent:4318"} == reached[SENDER]


def probe(name: str, namespace: str, labels: dict[str, str]) -> dict[str, object]:
    """A pod that waits to be asked."""
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "probe",
        "image": TRAINER,
        "command": ["python", "-c", "import time; time.sleep(3600)"],
        "securityContext": restricted,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"probe-{name}", "namespace": namespace, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
