"""A real Prometheus in the cluster, told by hand what the operator would tell it: monitors, rules, pods.

Debian's Prometheus cannot ask Kubernetes for pods, so their labels, as Kubernetes' discovery names them, come by file.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
import urllib.request
from typing import Any

import yaml

from scripts.cluster.images import USER
from scripts.cluster.places import STATE
from tests.cluster.kubectl import MONITORING, apply, objects, one
from tests.k8s.rendering import Object, selects
from tests.waiting import PATIENCE_S, wait_for

DIRECTORY = STATE / "prometheus"
LABELS = {"app.kubernetes.io/name": "prometheus"}
MONITORS = {"podmonitors": "podMetricsEndpoints", "servicemonitors": "endpoints"}


class Prometheus:
    """The server, and a thread that keeps its list of pods."""

    def __init__(self) -> None:
        """Start it with the monitors and rules that are in the cluster."""
        DIRECTORY.mkdir()
        DIRECTORY.chmod(0o777)
        self._monitors = [
            (kind, monitor)
            for kind in MONITORS
            for namespace in ("observability", "training")
            for monitor in objects(kind, namespace)
        ]
        rule = one("prometheusrules", "observability", "esper")
        (DIRECTORY / "rules.yml").write_text(yaml.safe_dump(rule["spec"]))
        jobs = [scraping(*each) for each in self._monitors]
        settings = {
            "global": {"evaluation_interval": "5s"},
            "rule_files": ["/shared/rules.yml"],
            "scrape_configs": jobs,
        }
        (DIRECTORY / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self._write_targets()
        apply(_pod())
        self._url = wait_for(self._address, "Prometheus' readiness", every_s=0.5)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following the pods."""
        self._stopped.set()
        self._thread.join()

    def value(self, expression: str) -> float | None:
        """The value of an expression that has one; None while there is none."""
        values = [float(each["value"][1]) for each in self.ask("query", query=expression)["result"]]
        return values[0] if len(values) == 1 else None

    def labels(self, expression: str) -> list[dict[str, str]]:
        """Labels of every series of an expression."""
        return [each["metric"] for each in self.ask("query", query=expression)["result"]]

    def ask(self, path: str, **parameters: str) -> Any:
        """Data of an answer of its API."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return json.load(answer)["data"]

    def _address(self) -> str | None:
        pod = one("pod", MONITORING, "prometheus")
        is_ready = any(each.get("ready") for each in pod["status"].get("containerStatuses", []))
        return f"http://{pod['status']['podIP']}:9090" if is_ready else None

    def _follow(self) -> None:
        while not self._stopped.wait(2):
            self._write_targets()

    def _write_targets(self) -> None:
        for kind, monitor in self._monitors:
            namespace, name = monitor["metadata"]["namespace"], monitor["metadata"]["name"]
            targets = [
                {"targets": [f"{pod['status']['podIP']}:{port}"], "labels": labels}
                for pod, extra in _selected(kind, monitor)
                for port, labels in _described(pod, extra, monitor["spec"][MONITORS[kind]][0]["port"])
                if "podIP" in pod["status"]
            ]
            unfinished = DIRECTORY / f"{namespace}-{name}.new"
            unfinished.write_text(json.dumps(targets))
            unfinished.rename(DIRECTORY / f"{namespace}-{name}.json")


def labels_of(thing: Object) -> dict[str, str]:
    """Labels of an object; a pod need not have any."""
    labels: dict[str, str] = thing["metadata"].get("labels", {})
    return labels


def _selected(kind: str, monitor: Object) -> list[tuple[Object, dict[str, str]]]:
    """The pods that a monitor selects, and labels that its service adds."""
    namespace, selector = monitor["metadata"]["namespace"], monitor["spec"]["selector"]
    pods = [pod for pod in objects("pods", namespace) if pod["status"]["phase"] in ("Pending", "Running")]
    if kind == "podmonitors":
        return [(pod, {}) for pod in pods if selects(selector, labels_of(pod))]
    found = []
    for service in objects("services", namespace):
        if selects(selector, labels_of(service)):
            extra = {_label("service_label", key): value for key, value in service["metadata"]["labels"].items()}
            extra["__meta_kubernetes_service_name"] = service["metadata"]["name"]
            chosen = {"matchLabels": service["spec"]["selector"]}
            found += [(pod, extra) for pod in pods if selects(chosen, labels_of(pod))]
    return found


def _described(pod: Object, extra: dict[str, str], port_name: str) -> list[tuple[int, dict[str, str]]]:
    """Ports with the name that a monitor asks for, and the pod's labels as Kubernetes' discovery writes them."""
    metadata, spec = pod["metadata"], pod["spec"]
    labels = {_label("pod_label", key): value for key, value in labels_of(pod).items()}
    labels |= {"__meta_kubernetes_pod_name": metadata["name"], "__meta_kubernetes_pod_uid": metadata["uid"]}
    labels |= {"__meta_kubernetes_namespace": metadata["namespace"], **extra}
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    return [
        (port["containerPort"], {**labels, "__meta_kubernetes_pod_container_name": container["name"]})
        for container in containers
        for port in container.get("ports", [])
        if port["name"] == port_name
    ]


def scraping(kind: str, monitor: Object) -> Object:
    """A job of Prometheus' configuration, as the operator writes it from a monitor of one endpoint."""
    namespace, name = monitor["metadata"]["namespace"], monitor["metadata"]["name"]
    (endpoint,) = monitor["spec"][MONITORS[kind]]
    owner = "pod" if kind == "podmonitors" else "service"
    about = {
        "podmonitors": [("container", "pod_container_name"), ("pod", "pod_name")],
        "servicemonitors": [("service", "service_name"), ("pod", "pod_name"), ("container", "pod_container_name")],
    }
    named = {
        "podmonitors": {"target_label": "job", "replacement": f"{namespace}/{name}"},
        "servicemonitors": _copied("job", "service_name"),
    }
    relabelings = [
        _copied("namespace", "namespace"),
        *(_copied(*each) for each in about[kind]),
        named[kind],
        {
            "source_labels": [_label(f"{owner}_label", monitor["spec"]["jobLabel"])],
            "target_label": "job",
            "regex": "(.+)",
        },
        {"target_label": "endpoint", "replacement": endpoint["port"]},
        *({_snake(key): value for key, value in each.items()} for each in endpoint.get("relabelings", [])),
    ]
    return {
        "job_name": f"{kind}/{namespace}/{name}",
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["scrapeTimeout"],
        "file_sd_configs": [{"files": [f"/shared/{namespace}-{name}.json"], "refresh_interval": "5s"}],
        "relabel_configs": relabelings,
    }


def _copied(label: str, source: str) -> dict[str, Any]:
    return {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": label}


def _label(kind: str, name: str) -> str:
    return f"__meta_kubernetes_{kind}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", name).lower()


def _pod() -> Object:
    container = {
        "name": "prometheus",
        "image": "lab/prometheus:1",
        "command": ["/prometheus", "--config.file=/shared/prometheus.yml", "--storage.tsdb.path=/data"],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}, {"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "prometheus", "namespace": MONITORING, "labels": LABELS},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsUser": USER, "fsGroup": USER},
            "containers": [container],
            "volumes": [{"name": "shared", "hostPath": {"path": str(DIRECTORY)}}, {"name": "data", "emptyDir": {}}],
        },
    }
