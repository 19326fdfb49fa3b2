"""What 'make cluster-test' installs is the example: only requests, shares and addresses differ."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.images import COLLECTOR, TRAINER
from scripts.cluster.places import NODE_ADDRESS, ROOT
from tests.k8s.rendering import MANIFESTS, Object, Rendered, render
from tests.k8s.schemas import KUBERNETES
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

LAB = MANIFESTS / "overlays" / "lab"
SETTINGS = "esper-gateway-settings"


@pytest.fixture(scope="module")
def lab() -> Rendered:
    return Rendered([*render(LAB).objects, *render(LAB / "job").objects])


def alike(thing: Object) -> Object:
    """An object without what the lab may change, and without the hash in the name of the settings."""
    settings = rf"{SETTINGS}-\w+"
    thing = copy.deepcopy(thing)
    _strip(thing)
    thing["metadata"]["name"] = re.sub(settings, SETTINGS, thing["metadata"]["name"])
    for key in ("COLLECTOR_HEALTHY_PERCENT", "COLLECTOR_DECISION_WAIT"):
        if thing["metadata"]["name"] == SETTINGS:
            thing["data"].pop(key, None)
    return thing


def _strip(value: Any) -> None:
    if isinstance(value, dict):
        value.pop("requests", None) if "limits" in value else None
        if "cidr" in value:
            value["cidr"] = ""
        if re.match(rf"{SETTINGS}-\w+", str(value.get("name"))):
            value["name"] = SETTINGS
        for each in value.values():
            _strip(each)
    elif isinstance(value, list):
        for each in value:
            _strip(each)


def test_the_lab_differs_from_the_example_in_requests_shares_and_the_address_of_the_api_alone(
    lab: Rendered, example: Rendered
) -> None:
    assert [alike(each) for each in example.objects] == [alike(each) for each in lab.objects]


def test_the_images_of_the_lab_have_the_names_that_its_manifests_ask_for(lab: Rendered) -> None:
    asked = {container["image"] for pod in lab.pods for container in pod.containers}

    assert {COLLECTOR, TRAINER} == asked


def test_the_agents_of_the_lab_may_ask_the_address_of_its_api_server(lab: Rendered) -> None:
    blocks = [
        peer["ipBlock"]["cidr"]
        for rule in lab.one("NetworkPolicy", "agent")["spec"]["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]

    assert [f"{NODE_ADDRESS}/32"] == blocks


def test_the_lab_is_the_oldest_kubernetes_that_the_manifests_are_meant_for() -> None:
    module = (ROOT / "scripts/cluster/go/kubernetes/go.mod").read_text(encoding="utf-8")

    assert KUBERNETES[0] in module.partition("require k8s.io/kubernetes v")[2].partition("\n")[0]


def test_without_root_there_is_one_error_and_no_lab(tmp_path: Path) -> None:
    # Debian's own Python is one that everybody may run.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3"]
    python = nobody if os.geteuid() == 0 else [sys.executable]
    if not Path("/etc/debian_version").exists() or not Path(python[-1]).exists():
        pytest.skip("the lab's machine is Debian with its own Python")
    command = [*python, "-m", "scripts.cluster", "touch", str(tmp_path / "came")]
    done = subprocess.run(
        command, cwd=ROOT, env=python_environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )

    assert (2, "error: the lab makes namespaces, mounts and cgroups: run it as root\n") == (
        done.returncode,
        done.stderr,
    )
    assert not (tmp_path / "came").exists()
