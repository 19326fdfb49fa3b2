"""The relay's container of the example job, run as its manifest says: command, variables, signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.k8s.rendering import Rendered, values_of
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import announced_url, manifest, samples, scrape, training, types_in
from tests.tools import python_environment
from tests.waiting import PATIENCE_S, wait_for

POD = {
    "metadata.name": "esper-demo-x7k2p",
    "metadata.uid": "0b7a4c1e",
    "metadata.namespace": "training",
    "metadata.labels['app.kubernetes.io/name']": "esper-demo",
    "status.podIP": "127.0.0.1",
    "spec.nodeName": "node-1",
}
"""What the kubelet fills in; the address is one of this machine."""

NAME = POD["metadata.name"]


@contextmanager
def sidecar(example: Rendered, telemetry: Path, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """The container, with the directory, the endpoint and the port of the test."""
    (container,) = [each for each in example.pod("Job/esper-demo-1").containers if each["name"] == "relay"]
    given = {name: filled(value) for name, value in values_of(container).items()}
    given |= {"ESPER_OTEL_TELEMETRY_DIR": str(telemetry), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    given |= {"OTEL_EXPORTER_PROMETHEUS_PORT": "0", "OTEL_EXPORTER_OTLP_CERTIFICATE": ""}
    for name, value in given.items():
        given[name] = re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], value)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    child = subprocess.Popen(
        [*container["command"], *container["args"]],
        env=python_environment(**given, PATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def filled(value: object) -> str:
    """Value of a variable as the kubelet would set it."""
    if isinstance(value, str):
        return value
    assert isinstance(value, dict)
    return POD[value["fieldRef"]["fieldPath"]] if "fieldRef" in value else "s3cret"


def test_it_waits_for_the_run_serves_it_notices_its_death_and_ends_when_told(example: Rendered, tmp_path: Path) -> None:
    run = tmp_path / NAME
    with OtlpReceiver() as receiver, sidecar(example, tmp_path, receiver.http_endpoint) as relay:
        with training(tmp_path, "--pause", "0.01", "--run-id", NAME) as trainer:
            url = announced_url(run)
            wait_for(lambda: "tamiyo_updates_total" in scrape(url), "the first update")
            trainer.kill()
        wait_for(lambda: manifest(run)["status"] == "died", "the note of the trainer's death")
        metrics = samples(scrape(url))
        assert relay.poll() is None  # a relay that ended would be started again

        relay.send_signal(signal.SIGTERM)
        code = relay.wait(timeout=PATIENCE_S)

    assert 0 == code
    assert 1.0 == metrics["esper_run_status", (("esper_run_state", "died"),)]
    assert 1 == types_in(run)["RUN_ENDED"]
    assert {"Bearer s3cret"} == {headers["authorization"] for headers in receiver.headers}
    assert url.startswith(f"http://{POD['status.podIP']}:")
    assert {
        "service.name": "esper-demo",
        "service.instance.id": NAME,
        "k8s.pod.name": NAME,
        "k8s.pod.uid": "0b7a4c1e",
        "k8s.namespace.name": "training",
        "k8s.node.name": "node-1",
    }.items() <= receiver.resources[0].items()
    assert [] == receiver.metrics  # they are scraped: sent as well they would count twice


def test_it_ends_at_once_when_no_run_ever_began(example: Rendered, tmp_path: Path) -> None:
    with sidecar(example, tmp_path, "http://127.0.0.1:9") as relay:
        wait_for(lambda: children(relay.pid), "the wait for run.json")
        relay.send_signal(signal.SIGTERM)

        assert 0 == relay.wait(timeout=PATIENCE_S)


def children(pid: int) -> str:
    """Process ids of what ``pid`` started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").strip()
