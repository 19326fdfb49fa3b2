"""No pod has more rights, or may use more of its node, than it needs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from tests.k8s.rendering import MANIFESTS, Object, Pod, Rendered, bytes_of, render, render_with
from tests.tools import tool
from tests.waiting import PATIENCE_S

SOURCE = Path(__file__).parent / "podsecurity"
Judge = Callable[[list[Pod]], list[str]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """The code by which Kubernetes itself admits pods to a namespace that is "restricted"."""
    program = tmp_path_factory.mktemp("podsecurity") / "podsecurity"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -modcacherw -p=2", "GOWORK": "off"}
    built = subprocess.run(
        [tool("go"), "build", "-o", str(program), "."], cwd=SOURCE, env=environment, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr

    def judged(pods: list[Pod]) -> list[str]:
        asked = json.dumps([{"metadata": {"labels": pod.labels}, "spec": pod.spec} for pod in pods])
        ran = subprocess.run([program], input=asked, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (0, "") == (ran.returncode, ran.stderr)
        return [str(verdict) for verdict in json.loads(ran.stdout)]

    return judged


def test_kubernetes_admits_every_pod_as_restricted(example: Rendered, judge: Judge) -> None:
    assert ["", "", ""] == judge(example.pods)


def test_also_gateways_that_write_to_clickhouse(judge: Judge) -> None:
    assert ["", ""] == judge(render(MANIFESTS / "overlays" / "clickhouse").pods)


@pytest.mark.parametrize("component", ["gpu", "gpu-dra"])
def test_also_with_a_gpu(component: str, tmp_path: Path, judge: Judge) -> None:
    assert [""] == judge(render_with(tmp_path, component).pods)


@pytest.mark.parametrize(
    ("level", "key", "value", "complaint"),
    [
        ("pod", "runAsNonRoot", False, "runAsNonRoot"),
        ("pod", "runAsUser", 0, "runAsUser=0"),
        ("pod", "seccompProfile", {"type": "Unconfined"}, "seccompProfile"),
        ("container", "allowPrivilegeEscalation", True, "allowPrivilegeEscalation"),
        ("container", "capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}, "capabilities"),
    ],
)
def test_a_right_too_many_is_noticed(
    example: Rendered, judge: Judge, level: str, key: str, value: object, complaint: str
) -> None:
    spec = deepcopy(example.pod("DaemonSet/esper-agent").spec)
    place: Object = spec if level == "pod" else spec["containers"][0]
    place["securityContext"][key] = value

    (verdict,) = judge([Pod("DaemonSet/changed", "observability", {}, spec)])

    assert complaint in verdict


def test_the_namespaces_demand_it(example: Rendered) -> None:
    demanded = [labels["pod-security.kubernetes.io/enforce"] for labels in example.namespaces.values()]

    assert ["restricted", "restricted"] == demanded


def test_no_container_writes_to_its_image(example: Rendered) -> None:
    writable = [
        (pod.owner, each["name"])
        for pod in example.pods
        for each in pod.containers
        if each["securityContext"].get("readOnlyRootFilesystem") is not True
    ]

    assert [] == writable


def test_every_container_has_requests_and_limits_and_no_volume_grows_without_bound(example: Rendered) -> None:
    for pod in example.pods:
        for each in pod.containers:
            resources = each["resources"]
            assert {"cpu", "memory"} <= set(resources["limits"]), (pod.owner, each["name"])
            assert {"cpu", "memory"} <= set(resources["requests"]), (pod.owner, each["name"])
            assert bytes_of(resources["requests"]["memory"]) <= bytes_of(resources["limits"]["memory"])
        empty = [volume["emptyDir"] for volume in pod.spec["volumes"] if "emptyDir" in volume]
        assert [True] * len(empty) == ["sizeLimit" in each for each in empty]


def test_every_image_has_a_version(example: Rendered) -> None:
    for pod in example.pods:
        for each in pod.containers:
            name, _, tag = each["image"].rpartition(":")
            assert "/" not in tag, each["image"]
            assert name != "", each["image"]
            assert tag not in ("", "latest")


def test_only_the_agent_may_ask_the_kubernetes_api_and_only_for_what_it_reads(example: Rendered) -> None:
    asking = [pod.owner for pod in example.pods if pod.spec["automountServiceAccountToken"]]
    (role,) = example.of("ClusterRole", "Role")

    assert ["DaemonSet/esper-agent"] == asking
    assert [{"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["get", "list", "watch"]}] == role[
        "rules"
    ]
