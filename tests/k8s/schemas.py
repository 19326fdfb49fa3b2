"""The schemas that API servers judge objects by: Kubernetes' own, and those of the operators' custom resources."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.k8s.rendering import Object
from tests.tools import tool
from tests.waiting import PATIENCE_S

KUBERNETES = ("1.34", "1.37")
"""The oldest version that the manifests are meant for, and the newest one known."""

CUSTOM_RESOURCES = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd",
        ("prometheusrules", "servicemonitors", "podmonitors"),
    ),
    "github.com/cert-manager/cert-manager@v1.21.2": ("deploy/crds", ("certificates", "issuers")),
}
"""Directory and names of the definitions by the Go module that carries them."""


def complaints(thing: Object) -> list[str]:
    """What is wrong with an object, by the schema of its kind; unknown fields are."""
    name = f"{thing['kind']}/{thing['metadata']['name']}"
    custom = custom_schemas().get((thing["apiVersion"], thing["kind"]))
    if custom is not None:
        found = jsonschema.Draft202012Validator(custom).iter_errors(thing)
        return [f"{name}: {error.json_path}: {error.message}" for error in found]
    said = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            said.append(f"{name} in {version}: {error.message}")
    return said


@cache
def custom_schemas() -> dict[tuple[str, str], Any]:
    """Schema of every custom kind by its apiVersion and kind."""
    found = {}
    for module, (directory, names) in CUSTOM_RESOURCES.items():
        for path in (_downloaded(module) / directory).iterdir():
            if path.suffix == ".yaml" and path.stem.rpartition("_")[2] in names:
                definition = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["spec"]
                for version in definition["versions"]:
                    kind = (f"{definition['group']}/{version['name']}", definition["names"]["kind"])
                    found[kind] = _closed(version["schema"]["openAPIV3Schema"])
    return found


def _downloaded(module: str) -> Path:
    command = [tool("go"), "mod", "download", "-json", module]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert said.returncode == 0, said.stdout + said.stderr
    return Path(json.loads(said.stdout)["Dir"])


def _closed(schema: Any) -> Any:
    """The schema with unknown fields refused, as a server-side apply does, and with Kubernetes' own extensions."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(each) for key, each in schema.items()}
    if closed.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    is_open = closed.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in closed
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object" and not is_open:
        closed["additionalProperties"] = False
    if closed.get("type") == "object" and set(closed.get("properties", {})) >= {"apiVersion", "kind", "metadata"}:
        closed["properties"]["metadata"] = {"type": "object"}
    return closed
