"""The sink as the backends that the example names: Mimir, Loki and Tempo in namespace monitoring."""

from __future__ import annotations

from pathlib import Path

from scripts.cluster.images import TRAINER, USER
from scripts.cluster.places import STATE
from tests.cluster import sink
from tests.cluster.kubectl import MONITORING, apply, kubectl
from tests.k8s.rendering import Object

DIRECTORY = STATE / "sink"
PORTS = {"mimir-gateway": 8080, "loki-gateway": 8080, "tempo-distributor": 4318}
LABELS = {"app": "sink"}


def start() -> None:
    """Install it, and wait until it listens."""
    DIRECTORY.mkdir()
    DIRECTORY.chmod(0o777)
    program = {"sink.py": Path(sink.__file__).read_text(encoding="utf-8")}
    apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named("sink"), "data": program},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _named("sink"), "spec": _deployment()},
        *(
            {"apiVersion": "v1", "kind": "Service", "metadata": _named(name), "spec": _service(port)}
            for name, port in PORTS.items()
        ),
    )
    come_back()


def go_away() -> None:
    """Stop listening: its pod goes."""
    kubectl("-n", MONITORING, "scale", "deployment/sink", "--replicas=0")
    kubectl("-n", MONITORING, "wait", "--for=delete", "pod", "-l", "app=sink", "--timeout=120s")


def come_back() -> None:
    """Listen again."""
    kubectl("-n", MONITORING, "scale", "deployment/sink", "--replicas=1")
    kubectl("-n", MONITORING, "rollout", "status", "deployment/sink", "--timeout=120s")


def _named(name: str) -> Object:
    return {"name": name, "namespace": MONITORING}


def _service(port: int) -> Object:
    return {"selector": LABELS, "ports": [{"port": port}]}


def _deployment() -> Object:
    listening = sorted({*PORTS.values()})
    container = {
        "name": "sink",
        "image": TRAINER,
        "command": ["python", "/program/sink.py", "/requests", *map(str, listening)],
        "readinessProbe": {"tcpSocket": {"port": listening[0]}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "program", "mountPath": "/program"},
            {"name": "requests", "mountPath": "/requests"},
        ],
    }
    pod = {
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsUser": USER},
        "containers": [container],
        "volumes": [
            {"name": "program", "configMap": {"name": "sink"}},
            {"name": "requests", "hostPath": {"path": str(DIRECTORY)}},
        ],
    }
    return {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": pod}}
