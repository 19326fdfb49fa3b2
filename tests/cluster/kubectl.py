"""Questions to the cluster, and changes of it, by kubectl."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.k8s.rendering import Object
from tests.waiting import PATIENCE_S, wait_for

OBSERVABILITY, TRAINING, MONITORING = "observability", "training", "monitoring"
AGENT, GATEWAY = "app.kubernetes.io/name=esper-agent", "app.kubernetes.io/name=esper-gateway"
GATEWAYS = 3


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Output of kubectl, which must succeed."""
    done = attempt(*arguments, given=given)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def attempt(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """The same, whatever comes of it."""
    return subprocess.run(["kubectl", *arguments], capture_output=True, text=True, input=given, timeout=PATIENCE_S)


def objects(kind: str, namespace: str, selector: str = "") -> list[Object]:
    """The objects of a kind."""
    asked = ["-n", namespace, "get", kind, "-o", "json", *(["-l", selector] if selector else [])]
    found: list[Object] = json.loads(kubectl(*asked))["items"]
    return found


def one(kind: str, namespace: str, name: str) -> Object:
    """One object."""
    found: Object = json.loads(kubectl("-n", namespace, "get", kind, name, "-o", "json"))
    return found


def apply(*things: Object) -> None:
    """Create the objects, or change them."""
    kubectl(
        "apply", "--server-side", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": things})
    )


def is_ready(pod: Object) -> bool:
    """Whether every container is ready, and the pod is not about to go."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def collectors() -> list[Object]:
    """The pods of agents and gateways that are ready."""
    return [pod for selector in (AGENT, GATEWAY) for pod in objects("pods", OBSERVABILITY, selector) if is_ready(pod)]


def wait_for_collectors() -> list[Object]:
    """Wait until the agent and every gateway are ready, and none of them is about to go."""

    def all_ready() -> list[Object] | None:
        every = [pod for each in (AGENT, GATEWAY) for pod in objects("pods", OBSERVABILITY, each)]
        return every if len(every) == 1 + GATEWAYS and all(map(is_ready, every)) else None

    return wait_for(all_ready, "the readiness of agent and gateways", every_s=0.5)


def totals(pod: Object) -> dict[str, float]:
    """The values of a collector's own telemetry, summed over their labels; the node reaches every pod."""
    with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8888/metrics", timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
    return values


def is_idle() -> bool:
    """Whether no collector has anything queued, nor a round that waits for its decision."""
    for pod in collectors():
        now = totals(pod)
        waiting = ("otelcol_exporter_queue_size", "otelcol_processor_tail_sampling_sampling_traces_on_memory")
        if any(now.get(name) for name in waiting):
            return False
    return True


def container_of(pod: Object, name: str) -> dict[str, Any]:
    """The status of one of a pod's containers, a sidecar too."""
    status = pod["status"]
    every = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
    return next((each for each in every if each["name"] == name), {})
