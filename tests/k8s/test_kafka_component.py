"""The example with Kafka between agents and gateways: both reach the brokers, and no longer each other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.reachability import Peer, may_connect, peer_of
from tests.k8s.rendering import EXAMPLE, MANIFESTS, Pod, Rendered, render, values_of
from tests.k8s.schemas import complaints
from tests.k8s.test_collector_settings import COLLECTOR, VARIABLE
from tests.tools import tool
from tests.waiting import PATIENCE_S

OWNERS = {"agent": "DaemonSet/esper-agent", "gateway": "StatefulSet/esper-gateway"}
BROKER = Peer(labels={"app": "broker"}, namespace={"kubernetes.io/metadata.name": "kafka"})
KAFKA_PORT = 9093


@pytest.fixture(scope="module")
def with_kafka(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The example, and the component laid over it."""
    directory = tmp_path_factory.mktemp("with-kafka")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(EXAMPLE, directory.resolve())],
        "components": [os.path.relpath(MANIFESTS / "components" / "kafka", directory.resolve())],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return render(directory)


def variables_of(pod: Pod, rendered: Rendered) -> dict[str, str]:
    """Variables of the only container, those taken from the pod with an example value."""
    (container,) = pod.containers
    maps = [rendered.one("ConfigMap", each["configMapRef"]["name"])["data"] for each in container.get("envFrom", [])]
    named = {name: value if isinstance(value, str) else "192.0.2.7" for name, value in values_of(container).items()}
    return {name: value for values in (*maps, named) for name, value in values.items()}


def test_every_object_is_valid(with_kafka: Rendered) -> None:
    assert [] == [said for thing in with_kafka.objects for said in complaints(thing)]


@pytest.mark.parametrize("kind", OWNERS)
def test_the_collector_accepts_both_files_with_the_variables_of_the_pod(
    kind: str, with_kafka: Rendered, tmp_path: Path
) -> None:
    pod = with_kafka.pod(OWNERS[kind])
    (container,) = pod.containers
    files = [Path(argument).name for argument in container["args"]]
    variables = variables_of(pod, with_kafka)
    password = tmp_path / "password"
    password.write_text("what-kafka-asks-for")
    environment = {"PATH": os.environ["PATH"], **variables, "COLLECTOR_KAFKA_PASSWORD_FILE": str(password)}
    command = [tool("otelcol-esper"), "validate", *(f"--config={COLLECTOR / name}" for name in files)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)

    assert [f"{kind}.yaml", f"{kind}-kafka.yaml"] == files
    assert (0, "") == (said.returncode, said.stderr)


@pytest.mark.parametrize("kind", OWNERS)
def test_every_variable_without_a_default_is_set_and_every_file_is_mounted(kind: str, with_kafka: Rendered) -> None:
    pod = with_kafka.pod(OWNERS[kind])
    (container,) = pod.containers
    source = (COLLECTOR / f"{kind}-kafka.yaml").read_text(encoding="utf-8")
    defaults = dict(VARIABLE.findall(source))
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    (config,) = [volume["configMap"]["name"] for volume in pod.spec["volumes"] if volume["name"] == "config"]

    assert {"COLLECTOR_KAFKA_BROKERS"} <= set(variables_of(pod, with_kafka))
    assert source == with_kafka.one("ConfigMap", config)["data"][f"{kind}-kafka.yaml"]
    assert {"/etc/otelcol/kafka"} == {
        str(Path(path).parent) for path in defaults.values() if path.startswith("/etc/otelcol/kafka")
    }
    assert "/etc/otelcol/kafka" in mounts


def test_each_gateway_is_a_member_by_the_name_of_its_pod(with_kafka: Rendered) -> None:
    (container,) = with_kafka.pod(OWNERS["gateway"]).containers

    assert {"fieldRef": {"fieldPath": "metadata.name"}} == values_of(container)["COLLECTOR_KAFKA_MEMBER"]


def test_agents_and_gateways_reach_the_brokers_and_not_each_other(with_kafka: Rendered) -> None:
    agent, gateway = (peer_of(with_kafka.pod(OWNERS[kind]), with_kafka) for kind in OWNERS)

    assert may_connect(with_kafka, agent, BROKER, KAFKA_PORT)
    assert may_connect(with_kafka, gateway, BROKER, KAFKA_PORT)
    assert not may_connect(with_kafka, agent, gateway, 4317)
    assert not may_connect(with_kafka, agent, BROKER, 22)
