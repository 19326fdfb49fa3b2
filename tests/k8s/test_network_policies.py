"""What must talk can, and nothing else."""

from __future__ import annotations

import pytest

from tests.k8s.reachability import Peer, may_connect, peer_of
from tests.k8s.rendering import MANIFESTS, Rendered, render, selects, walk

DNS = Peer(labels={"k8s-app": "kube-dns"}, namespace={"kubernetes.io/metadata.name": "kube-system"})
PROMETHEUS = Peer(
    labels={"app.kubernetes.io/name": "prometheus"}, namespace={"kubernetes.io/metadata.name": "monitoring"}
)
BACKEND = Peer(labels={"app.kubernetes.io/name": "tempo"}, namespace={"kubernetes.io/metadata.name": "monitoring"})
STRANGER = Peer(labels={"app.kubernetes.io/component": "trainer"}, namespace={"kubernetes.io/metadata.name": "default"})
API_SERVER = Peer(address="192.0.2.1")
ELSEWHERE = Peer(address="198.51.100.7")
OUTSIDE = [DNS, PROMETHEUS, BACKEND]


@pytest.fixture(scope="module")
def peers(example: Rendered) -> dict[str, Peer]:
    """Both ends of every connection by name."""
    return {
        "trainer": peer_of(example.pod("Job/esper-demo-1"), example),
        "agent": peer_of(example.pod("DaemonSet/esper-agent"), example),
        "gateway": peer_of(example.pod("StatefulSet/esper-gateway"), example),
        "dns": DNS,
        "prometheus": PROMETHEUS,
        "backend": BACKEND,
        "stranger": STRANGER,
        "api": API_SERVER,
        "elsewhere": ELSEWHERE,
    }


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("trainer", "agent", 4317),
        ("trainer", "agent", 4318),
        ("agent", "gateway", 4317),
        ("agent", "api", 443),
        ("agent", "api", 6443),
        ("gateway", "backend", 4318),
        ("gateway", "backend", 8080),
        ("prometheus", "trainer", 9464),
        ("prometheus", "agent", 8888),
        ("prometheus", "gateway", 8888),
        *[(source, "dns", 53) for source in ("trainer", "agent", "gateway")],
    ],
)
def test_what_must_talk_can(example: Rendered, peers: dict[str, Peer], source: str, target: str, port: int) -> None:
    assert may_connect(example, peers[source], peers[target], port)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("trainer", "gateway", 4317),
        ("trainer", "trainer", 9464),
        ("trainer", "api", 443),
        ("trainer", "elsewhere", 443),
        ("agent", "trainer", 9464),
        ("agent", "elsewhere", 443),
        ("agent", "agent", 4317),
        ("gateway", "agent", 4317),
        ("gateway", "api", 443),
        ("gateway", "elsewhere", 4318),
        ("stranger", "agent", 4317),
        ("stranger", "gateway", 4317),
        ("stranger", "trainer", 9464),
        ("prometheus", "agent", 4317),
        ("backend", "gateway", 8888),
    ],
)
def test_what_need_not_talk_cannot(
    example: Rendered, peers: dict[str, Peer], source: str, target: str, port: int
) -> None:
    assert not may_connect(example, peers[source], peers[target], port)


def test_the_base_reaches_the_backends_that_it_names() -> None:
    base = render(MANIFESTS / "base")
    gateway = peer_of(base.pod("StatefulSet/esper-gateway"), base)

    assert [True] * 3 == [may_connect(base, gateway, BACKEND, port) for port in (9090, 4318, 3100)]


def test_without_its_policy_a_pod_talks_to_nobody(example: Rendered, peers: dict[str, Peer]) -> None:
    closed = Rendered([each for each in example.objects if each["metadata"]["name"] != "agent"])

    assert not may_connect(closed, peers["trainer"], peers["agent"], 4317)
    assert not may_connect(closed, peers["agent"], peers["gateway"], 4317)


def test_every_policy_is_about_a_pod_and_every_peer_exists(example: Rendered) -> None:
    for policy in example.of("NetworkPolicy"):
        namespace, spec = policy["metadata"]["namespace"], policy["spec"]
        own = [pod for pod in example.pods if pod.namespace == namespace]
        assert any(selects(spec["podSelector"], pod.labels) for pod in own), policy["metadata"]["name"]
        known = [peer_of(pod, example) for pod in example.pods] + OUTSIDE
        for rules in (spec.get("ingress", []), spec.get("egress", [])):
            for end in (each for each in walk(rules) if "podSelector" in each or "namespaceSelector" in each):
                assert any(is_meant(end, peer) for peer in known), (policy["metadata"]["name"], end)


def is_meant(end: dict[str, dict[str, object]], peer: Peer) -> bool:
    """Whether the selectors of one end of a rule match ``peer``."""
    is_there = selects(end.get("namespaceSelector", {}), peer.namespace or {})
    return is_there and selects(end.get("podSelector", {}), peer.labels)
