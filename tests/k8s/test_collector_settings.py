"""The pods give the collectors what their configuration files ask for: variables, files, ports, memory and disk."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path, PurePosixPath

import msgspec
import pytest
import yaml

from tests.k8s.rendering import MANIFESTS, Object, Pod, Rendered, bytes_of, render, values_of, walk
from tests.tools import ROOT, tool
from tests.waiting import PATIENCE_S

COLLECTOR = ROOT / "deploy" / "collector"
VARIABLE = re.compile(r"\$\{env:(\w+)(?::-([^}]*))?\}")
POD_IP = "192.0.2.7"


class Collector(msgspec.Struct, frozen=True):
    """One collector as its pod runs it.

    Attributes:
        pod: its pod.
        source: its configuration file as text.
        environment: the variables that it is given; those taken from the pod with an example value.
    """

    pod: Pod
    source: str
    environment: dict[str, str]

    @property
    def container(self) -> Object:
        """Its container."""
        (found,) = self.pod.containers
        return found

    @property
    def variables(self) -> dict[str, str]:
        """The variables that the configuration reads, with their defaults."""
        lines = [line for line in self.source.splitlines() if not line.lstrip().startswith("#")]
        return dict(VARIABLE.findall("\n".join(lines)))

    @property
    def config(self) -> Object:
        """The configuration with its variables filled in."""
        filled: Object = yaml.safe_load(
            VARIABLE.sub(lambda found: self.environment.get(found[1], found[2]), self.source)
        )
        return filled


@pytest.fixture(scope="module", params=["agent", "gateway"])
def collector(request: pytest.FixtureRequest, example: Rendered) -> Collector:
    return collector_of(example, request.param)


def collector_of(rendered: Rendered, name: str) -> Collector:
    """The collector ``name``: agent or gateway."""
    (pod,) = [pod for pod in rendered.pods if pod.labels["app.kubernetes.io/name"] == f"esper-{name}"]
    (container,) = pod.containers
    environment: dict[str, str] = {}
    for source in container.get("envFrom", []):
        environment |= rendered.one("ConfigMap", source["configMapRef"]["name"])["data"]
    environment |= {key: value if isinstance(value, str) else POD_IP for key, value in values_of(container).items()}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (config,) = [volume["configMap"]["name"] for volume in pod.spec["volumes"] if volume["name"] == "config"]
    files: dict[str, str] = rendered.one("ConfigMap", config)["data"]
    (argument,) = container["args"]
    path = PurePosixPath(argument.removeprefix("--config="))
    assert mounts["config"] == str(path.parent)
    return Collector(pod, files[path.name], environment)


def test_the_configuration_is_the_file_that_everybody_uses(collector: Collector) -> None:
    name = collector.pod.labels["app.kubernetes.io/name"].removeprefix("esper-")

    assert (COLLECTOR / f"{name}.yaml").read_text(encoding="utf-8") == collector.source


def test_every_variable_that_has_no_default_is_set(collector: Collector) -> None:
    asked = {name for name, default in collector.variables.items() if not default}
    asked |= {each["node_from_env_var"] for each in walk(collector.config) if "node_from_env_var" in each}

    assert set() == asked - set(collector.environment)


def test_every_variable_that_is_set_is_read(collector: Collector) -> None:
    read = {*collector.variables, "K8S_NODE_NAME", "GOMEMLIMIT"}

    assert set() == set(collector.environment) - read


def test_it_listens_on_the_ports_of_its_container_at_the_address_of_its_pod(collector: Collector) -> None:
    listening = [collector.config["extensions"]["health_check"]["endpoint"]]
    listening += [each["endpoint"] for each in collector.config["receivers"]["otlp"]["protocols"].values()]
    (reader,) = collector.config["service"]["telemetry"]["metrics"]["readers"]
    own = reader["pull"]["exporter"]["prometheus"]
    listening.append(f"{own['host']}:{own['port']}")
    assert {f"{POD_IP}:{port}" for port in collector.pod.ports.values()} == set(listening)


def test_every_file_that_it_reads_or_writes_lies_on_a_volume(collector: Collector) -> None:
    named = [
        value
        for each in walk(collector.config)
        for key, value in each.items()
        if key in ("cert_file", "key_file", "ca_file", "filename", "directory")
    ]
    writable = {mount["mountPath"]: not mount.get("readOnly") for mount in collector.container["volumeMounts"]}

    assert named
    for path in named:
        (mount,) = [each for each in writable if PurePosixPath(path).is_relative_to(each)]
        assert ("queue" in path) == writable[mount], path


def test_memory_limiter_and_garbage_collector_know_the_limit_of_the_container(collector: Collector) -> None:
    limit = bytes_of(collector.container["resources"]["limits"]["memory"])
    share = collector.config["processors"]["memory_limiter"]["limit_percentage"] / 100

    assert 0.99 * share * limit < bytes_of(collector.environment["GOMEMLIMIT"]) <= 1.01 * share * limit


def test_full_queues_and_their_compaction_fit_the_volume(collector: Collector, example: Rendered) -> None:
    exporters = collector.config["exporters"]
    queues = [
        int(exporters[name]["sending_queue"]["queue_size"])
        for pipeline in collector.config["service"]["pipelines"].values()
        for name in pipeline["exporters"]
    ]
    kind, name = collector.pod.owner.split("/")
    claims = example.one(kind, name)["spec"].get("volumeClaimTemplates", [])
    sizes = [each["spec"]["resources"]["requests"]["storage"] for each in claims]
    sizes += [volume["emptyDir"]["sizeLimit"] for volume in collector.pod.spec["volumes"] if "emptyDir" in volume]
    (size,) = sizes

    assert 2 * sum(queues) <= bytes_of(size)


def test_the_collector_itself_accepts_the_configuration_with_the_variables_of_the_pod(
    collector: Collector, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(collector.source, encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], **collector.environment}
    command = [tool("otelcol-esper"), "validate", f"--config={config}"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)

    assert (0, "") == (said.returncode, said.stderr)


def test_the_agent_finds_the_gateways_by_their_headless_service(example: Rendered) -> None:
    agent = collector_of(example, "agent")
    name, namespace, _ = agent.environment["COLLECTOR_GATEWAY_HOST"].split(".")
    service = example.one("Service", name)
    resolver = agent.config["exporters"]["load_balancing"]["resolver"]["dns"]

    assert ("observability", "None") == (namespace, service["spec"]["clusterIP"])
    assert resolver["port"] in [port["port"] for port in service["spec"]["ports"]]


def test_the_overlay_sets_where_the_gateways_write() -> None:
    base, example = (
        collector_of(render(MANIFESTS / part), "gateway").environment for part in ("base", "overlays/example")
    )
    changed = {name for name in example if base.get(name) != example[name]}

    assert {f"COLLECTOR_{kind}_URL" for kind in ("METRICS", "TRACES", "LOGS")} <= changed


def test_the_image_has_the_version_of_the_builders_manifest(example: Rendered) -> None:
    manifest = yaml.safe_load((COLLECTOR / "builder.yaml").read_text(encoding="utf-8"))
    tags = {
        each["image"].rpartition(":")[2]
        for pod in example.pods
        for each in pod.containers
        if each["name"] == "collector"
    }

    assert {manifest["dist"]["version"]} == tags
