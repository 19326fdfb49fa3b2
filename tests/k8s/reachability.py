"""Who may talk to whom, by the rules of NetworkPolicy: both ends must allow a connection."""

from __future__ import annotations

import ipaddress

import msgspec

from tests.k8s.rendering import Object, Pod, Rendered, selects


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a connection.

    Attributes:
        labels: those of the pod.
        namespace: labels of its namespace; None for an address outside of the cluster.
        ports: its ports by name.
        address: its address, for one that is no pod.
    """

    labels: dict[str, str] = {}
    namespace: dict[str, str] | None = None
    ports: dict[str, int] = {}
    address: str = "10.1.2.3"


def peer_of(pod: Pod, rendered: Rendered) -> Peer:
    """A rendered pod as an end of a connection."""
    return Peer(labels=pod.labels, namespace=rendered.namespaces[pod.namespace], ports=pod.ports)


def may_connect(rendered: Rendered, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies let ``source`` open a connection to ``port`` of ``target``."""
    leaves = _allows(rendered, source, target, target, port, protocol, "Egress")
    arrives = _allows(rendered, target, source, target, port, protocol, "Ingress")
    return leaves and arrives


def _allows(
    rendered: Rendered, subject: Peer, other: Peer, listener: Peer, port: int, protocol: str, direction: str
) -> bool:
    policies = [
        policy
        for policy in rendered.of("NetworkPolicy")
        if _is_about(policy, subject) and direction in policy["spec"]["policyTypes"]
    ]
    if not policies:
        return True
    side, ends = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return any(
        _has_port(rule, listener, port, protocol) and _has_peer(rule.get(ends), other, policy)
        for policy in policies
        for rule in policy["spec"].get(side, [])
    )


def _is_about(policy: Object, peer: Peer) -> bool:
    if peer.namespace is None or policy["metadata"]["namespace"] != peer.namespace["kubernetes.io/metadata.name"]:
        return False
    return selects(policy["spec"]["podSelector"], peer.labels)


def _has_port(rule: Object, listener: Peer, port: int, protocol: str) -> bool:
    if "ports" not in rule:
        return True
    return any(
        each["protocol"] == protocol and listener.ports.get(str(each["port"]), each["port"]) == port
        for each in rule["ports"]
    )


def _has_peer(ends: list[Object] | None, other: Peer, policy: Object) -> bool:
    return ends is None or any(_matches(end, other, policy) for end in ends)


def _matches(end: Object, other: Peer, policy: Object) -> bool:
    if "ipBlock" in end:
        return ipaddress.ip_address(other.address) in ipaddress.ip_network(end["ipBlock"]["cidr"])
    if other.namespace is None:
        return False
    if "namespaceSelector" in end:
        is_there = selects(end["namespaceSelector"], other.namespace)
    else:
        is_there = other.namespace["kubernetes.io/metadata.name"] == policy["metadata"]["namespace"]
    return is_there and selects(end.get("podSelector", {}), other.labels)
