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

from esper_otel.relay.liveness import GRACE_S
from esper_otel.relay.options import DEFAULT_LAST_SCRAPE_S
from tests.k8s.rendering import MANIFESTS, Rendered, values_of
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import (
    announced_url,
    events_by_type,
    manifest,
    samples,
    scrape,
    scrape_to_the_end,
    state_in,
    training,
    types_in,
)
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

MARGIN_S = 10.0
"""For a death, which is believed after some time, and for the end of the process."""


@contextmanager
def sidecar(example: Rendered, telemetry: Path, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """The container, with the directory, the endpoint and the port of the test."""
    (container,) = [each for each in example.pod("Job/esper-demo-1").containers if each["name"] == "relay"]
    given = {name: filled(value) for name, value in values_of(container).items()}
    given |= {"ESPER_OTEL_TELEMETRY_DIR": str(telemetry), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    given |= {"OTEL_EXPORTER_PROMETHEUS_PORT": "0", "OTEL_EXPORTER_OTLP_CERTIFICATE": ""}
    for name, value in given.items():
        given[name] = expanded(value, given)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    child = subprocess.Popen(
        [expanded(word, given) for word in (*container["command"], *container["args"])],
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


def expanded(text: str, variables: dict[str, str]) -> str:
    """``text`` with the variables that it names as ``$(NAME)``."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], text)


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
        scrape_to_the_end(url, relay)

    assert 0 == relay.returncode
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
        assert relay.stderr is not None
        assert "no run is in" in relay.stderr.readline()
        relay.send_signal(signal.SIGTERM)

        assert 0 == relay.wait(timeout=PATIENCE_S)


def test_a_trainer_that_writes_a_checkpoint_after_the_signal_is_followed_to_its_end_and_that_is_scraped(
    example: Rendered, tmp_path: Path
) -> None:
    run = tmp_path / NAME
    with OtlpReceiver() as receiver, sidecar(example, tmp_path, receiver.http_endpoint) as relay:
        with training(tmp_path, "--pause", "0.05", "--run-id", NAME, "--goes-on-s", "5") as trainer:
            url = announced_url(run)
            wait_for(lambda: "tamiyo_updates_total" in scrape(url), "the first update")
            for process in (trainer, relay):
                process.send_signal(signal.SIGTERM)
            trainer.communicate(timeout=PATIENCE_S)
        last = scrape_to_the_end(url, relay)

    assert (0, "interrupted") == (relay.returncode, state_in(last))
    assert types_in(run) == events_by_type(last)
    assert sum(types_in(run).values()) == len(receiver.logs)


def test_the_times_of_the_relay_fit_into_the_time_that_the_pod_has(example: Rendered) -> None:
    pod = example.pod("Job/esper-demo-1")
    (container,) = [each for each in pod.containers if each["name"] == "relay"]
    words = [*container["args"]]
    grace_s, drain_s = (float(words[words.index(name) + 1]) for name in ("--grace", "--drain"))

    assert "lifecycle" not in container
    assert grace_s > GRACE_S
    assert grace_s + max(drain_s, DEFAULT_LAST_SCRAPE_S) + MARGIN_S <= pod.spec["terminationGracePeriodSeconds"]


def test_the_readme_names_the_times_of_the_job(example: Rendered) -> None:
    pod = example.pod("Job/esper-demo-1")
    readme = " ".join((MANIFESTS / "README.md").read_text(encoding="utf-8").split())
    period_s = pod.spec["terminationGracePeriodSeconds"]

    assert f"`terminationGracePeriodSeconds` ({period_s} s)" in readme
    assert f"up to {DEFAULT_LAST_SCRAPE_S:g} s for the last scrape" in readme
    assert f"within {period_s - 30} s" in readme


def test_no_process_of_the_job_is_one_that_the_kernel_keeps_sigterm_from(example: Rendered) -> None:
    assert example.pod("Job/esper-demo-1").spec["shareProcessNamespace"]
