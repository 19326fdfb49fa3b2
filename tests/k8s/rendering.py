"""What kustomize makes of the manifests, and the questions that tests ask about it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.tools import ROOT, tool
from tests.waiting import PATIENCE_S

MANIFESTS = ROOT / "deploy" / "k8s"
EXAMPLE = MANIFESTS / "overlays" / "example"
EXAMPLE_JOB = EXAMPLE / "job"
TEMPLATES = {"DaemonSet", "StatefulSet", "Job"}

Object = dict[str, Any]


class Pod(msgspec.Struct, frozen=True):
    """A pod that a rendered workload makes.

    Attributes:
        owner: the workload, as Kind/name.
        namespace: its namespace.
        labels: its labels.
        spec: its spec.
    """

    owner: str
    namespace: str
    labels: dict[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """All of its containers, sidecars first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Its ports by name."""
        return {port["name"]: port["containerPort"] for each in self.containers for port in each.get("ports", [])}


class Rendered:
    """The objects of one rendering."""

    def __init__(self, objects: list[Object]) -> None:
        """``objects`` as they would be applied."""
        self.objects = objects

    def of(self, *kinds: str) -> list[Object]:
        """The objects of these kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        """The object of that kind and name."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    def names(self, kind: str, namespace: str | None = None) -> set[str]:
        """Names of the objects of that kind, of one namespace if it is given."""
        metadata = [each["metadata"] for each in self.of(kind)]
        return {each["name"] for each in metadata if namespace in (None, each.get("namespace"))}

    @property
    def pods(self) -> list[Pod]:
        """A pod of each workload."""
        return [pod_of(each) for each in self.of(*TEMPLATES)]

    def pod(self, owner: str) -> Pod:
        """The pod of one workload, named as Kind/name."""
        (found,) = [pod for pod in self.pods if pod.owner == owner]
        return found

    @property
    def namespaces(self) -> dict[str, dict[str, str]]:
        """Labels of the rendered namespaces, with the one that Kubernetes adds."""
        return {
            each["metadata"]["name"]: {
                **each["metadata"].get("labels", {}),
                "kubernetes.io/metadata.name": each["metadata"]["name"],
            }
            for each in self.of("Namespace")
        }


def pod_of(workload: Object) -> Pod:
    """The pod that ``workload`` makes."""
    metadata, template = workload["metadata"], workload["spec"]["template"]
    labels = template["metadata"]["labels"]
    return Pod(f"{workload['kind']}/{metadata['name']}", metadata["namespace"], labels, template["spec"])


def render(directory: Path) -> Rendered:
    """Build the kustomization in ``directory`` with kustomize itself, restrictions and all."""
    built = subprocess.run(
        [tool("kustomize"), "build", str(directory)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (0, "") == (built.returncode, built.stderr)
    return Rendered(list(yaml.load_all(built.stdout, yaml.CSafeLoader)))


def render_with(directory: Path, component: str) -> Rendered:
    """Build the example's job with one more component, by way of a kustomization in ``directory``."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(EXAMPLE_JOB, directory.resolve())],
        "components": [os.path.relpath(MANIFESTS / "components" / component, directory.resolve())],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return render(directory)


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector of Kubernetes matches ``labels``; an empty one matches everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_satisfies(each, labels) for each in selector.get("matchExpressions", []))


def _satisfies(expression: Object, labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"unknown operator {expression['operator']}")


def values_of(container: Object) -> dict[str, Any]:
    """The variables that a container is given by name: text, or where the value is taken from."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container.get("env", [])}


def bytes_of(quantity: str) -> int:
    """A quantity of memory or disk in bytes; also as Go writes it (410MiB)."""
    for power, letter in enumerate("KMG", start=1):
        for suffix in (f"{letter}i", f"{letter}iB"):
            if quantity.endswith(suffix):
                return int(quantity.removesuffix(suffix)) * 1024**power
    return int(quantity)


def walk(value: Any) -> Iterator[Object]:
    """Every mapping within ``value``."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)
