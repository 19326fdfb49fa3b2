"""The overlay with ClickHouse is the example, and gateways that find what their second file asks for."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml

from tests.k8s.reachability import Peer, may_connect, peer_of
from tests.k8s.rendering import MANIFESTS, Object, Rendered, bytes_of, render, values_of
from tests.k8s.schemas import complaints
from tests.k8s.test_collector_settings import COLLECTOR, POD_IP, VARIABLE
from tests.k8s.test_references import named_by
from tests.tools import tool
from tests.waiting import PATIENCE_S

GATEWAY = "StatefulSet/esper-gateway"
FILES = ("gateway.yaml", "clickhouse.yaml")
CLICKHOUSE = Peer(
    labels={"app.kubernetes.io/name": "clickhouse"}, namespace={"kubernetes.io/metadata.name": "clickhouse"}
)


@pytest.fixture(scope="module")
def overlay() -> Rendered:
    return render(MANIFESTS / "overlays" / "clickhouse")


@pytest.fixture(scope="module")
def container(overlay: Rendered) -> Object:
    (found,) = overlay.pod(GATEWAY).containers
    return found


@pytest.fixture(scope="module")
def environment(overlay: Rendered, container: Object) -> dict[str, str]:
    (settings,) = [each["configMapRef"]["name"] for each in container["envFrom"]]
    named = {key: value if isinstance(value, str) else POD_IP for key, value in values_of(container).items()}
    return {**overlay.one("ConfigMap", settings)["data"], **named}


def test_every_object_is_valid(overlay: Rendered) -> None:
    assert [] == [said for thing in overlay.objects for said in complaints(thing)]


def test_it_has_the_objects_of_the_example(overlay: Rendered) -> None:
    def names(rendered: Rendered) -> list[tuple[str, str]]:
        return [(each["kind"], re.sub(r"-\w{10}$", "", each["metadata"]["name"])) for each in rendered.objects]

    assert names(render(MANIFESTS / "overlays" / "example")) == names(overlay)


def test_the_gateways_read_both_files_as_everybody_has_them(overlay: Rendered, container: Object) -> None:
    (config,) = [
        volume["configMap"]["name"] for volume in overlay.pod(GATEWAY).spec["volumes"] if volume["name"] == "config"
    ]

    assert [f"--config=/etc/otelcol/config/{name}" for name in FILES] == container["args"]
    mounted = overlay.one("ConfigMap", config)["data"]
    for name in FILES:
        assert (COLLECTOR / name).read_text(encoding="utf-8") == mounted[name]


def test_every_variable_that_is_set_is_read(environment: dict[str, str]) -> None:
    text = "".join((COLLECTOR / name).read_text(encoding="utf-8") for name in FILES)
    read = {name for name, _ in VARIABLE.findall(text)}

    assert set() == environment.keys() - read - {"GOMEMLIMIT"}
    assert {name for name in read if "CLICKHOUSE" in name} - environment.keys() == {"COLLECTOR_CLICKHOUSE_DATABASE"}


def test_user_password_and_authority_come_from_a_secret_that_the_readme_tells_to_make(
    overlay: Rendered, container: Object, environment: dict[str, str]
) -> None:
    authority = PurePosixPath(environment["COLLECTOR_CLICKHOUSE_CA_FILE"])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    (volume,) = [each for each in overlay.pod(GATEWAY).spec["volumes"] if each["name"] == mounts[str(authority.parent)]]

    assert ("Secret", "esper-clickhouse") in named_by(overlay.pod(GATEWAY))
    assert {"secretName": "esper-clickhouse", "items": [{"key": "ca.crt", "path": authority.name}]} == {
        key: volume["secret"][key] for key in ("secretName", "items")
    }
    assert "create secret generic esper-clickhouse" in (MANIFESTS / "README.md").read_text(encoding="utf-8")


def test_full_queues_and_their_compaction_fit_the_volume(overlay: Rendered, environment: dict[str, str]) -> None:
    pipelines: dict[str, list[str]] = {}
    for name in FILES:
        service = yaml.safe_load((COLLECTOR / name).read_text(encoding="utf-8"))["service"]
        pipelines |= {signal: each["exporters"] for signal, each in service["pipelines"].items()}
    (claim,) = overlay.one("StatefulSet", "esper-gateway")["spec"]["volumeClaimTemplates"]
    queues = sum(map(len, pipelines.values()))

    assert 5 == queues
    size = bytes_of(claim["spec"]["resources"]["requests"]["storage"])
    assert 2 * queues * int(environment["COLLECTOR_QUEUE_BYTES"]) <= size


def test_the_gateways_reach_clickhouse_where_they_are_told_that_it_is(
    overlay: Rendered, environment: dict[str, str]
) -> None:
    gateway = peer_of(overlay.pod(GATEWAY), overlay)
    scheme, host, port = environment["COLLECTOR_CLICKHOUSE_URL"].split(":")

    assert ("https", "clickhouse") == (scheme, host.split(".")[1])
    assert may_connect(overlay, gateway, CLICKHOUSE, int(port))
    assert not may_connect(overlay, gateway, CLICKHOUSE, 8123)
    assert not may_connect(render(MANIFESTS / "overlays" / "example"), gateway, CLICKHOUSE, int(port))


def test_the_collector_itself_accepts_both_files_with_the_variables_of_the_pod(
    environment: dict[str, str], tmp_path: Path
) -> None:
    files = [f"--config={COLLECTOR / name}" for name in FILES]
    variables = {"PATH": os.environ["PATH"], **environment}
    said = subprocess.run(
        [tool("otelcol-esper"), "validate", *files], env=variables, capture_output=True, text=True, timeout=PATIENCE_S
    )

    assert (0, "") == (said.returncode, said.stderr)
