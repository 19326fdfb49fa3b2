"""The lab with everything installed, once for all tests of the cluster."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from scripts.cluster.places import CACHE
from tests.cluster import backend, measured
from tests.cluster.arrived import Delivered, Losses, Sink, losses, recorded
from tests.cluster.endings import Endings, begin
from tests.cluster.kubectl import attempt, is_idle, kubectl, wait_for_collectors
from tests.cluster.monitoring import Prometheus
from tests.cluster.readme import run_commands
from tests.cluster.training import Training
from tests.k8s.rendering import MANIFESTS
from tests.waiting import PATIENCE_S, wait_for


class Installed(msgspec.Struct, frozen=True):
    """What was installed, and how that went.

    Attributes:
        applied: the README's apply.
        secrets: the README's commands for tokens and certificates.
        ready_s: from the apply to the readiness of agent and gateways.
        files: directory with tokens and certificates.
    """

    applied: subprocess.CompletedProcess[str]
    secrets: list[subprocess.CompletedProcess[str]]
    ready_s: float
    files: Path


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The lab's overlay, installed as the README says; monitors and rules beside it need their definitions."""
    if "ESPER_LAB_UP_S" not in os.environ:
        pytest.fail("there is no cluster: run 'make cluster-test', or 'python -m scripts.cluster COMMAND'")
    backend.start()
    kubectl("apply", "--server-side", "-f", str(CACHE / "definitions"))
    kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    files, began = tmp_path_factory.mktemp("installation"), time.monotonic()
    applied = run_commands("kubectl apply --server-side -k", MANIFESTS, yours="lab")
    secrets = [run_commands(beginning, files) for beginning in ("for name in relay gateway", "openssl req -x509")]
    wait_for_collectors()
    return Installed(applied, secrets, time.monotonic() - began, files)


@pytest.fixture(scope="session")
def prometheus(installed: Installed) -> Iterator[Prometheus]:
    """Prometheus with the shipped monitors and rules."""
    server = Prometheus()
    yield server
    server.close()


@pytest.fixture(scope="session")
def endings(prometheus: Prometheus) -> Endings:
    """Jobs that end each in its way."""
    return begin()


@pytest.fixture(scope="session")
def sink(installed: Installed) -> Sink:
    """What arrived behind the gateways."""
    return Sink(backend.DIRECTORY)


Lost = Callable[[Training], Losses]


@pytest.fixture
def lost(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Lost:
    """Compares what a training's first pod recorded with what arrived, once everything has or nothing more will."""

    def compare(training: Training) -> Losses:
        told = recorded(training.run, tmp_path_factory.mktemp("recorded"))

        def is_settled() -> Losses | None:
            idle = is_idle()
            found = losses(told, sink.of(training.pod_name))
            return found if found.nothing or idle else None

        wait_for(is_settled, "the last delivery", every_s=2.0)
        # What is between two queues is in neither.
        time.sleep(5)
        return wait_for(is_settled, "the last delivery", every_s=2.0)

    return compare


@pytest.fixture
def there(sink: Sink) -> Callable[[Training], Delivered]:
    """What arrived of a training's first pod."""
    return lambda training: sink.of(training.pod_name)


@pytest.fixture(scope="session", autouse=True)
def page() -> Iterator[None]:
    """Writes what was measured, at the end."""
    yield
    measured.write()


def until_done(*arguments: str) -> None:
    """Wait for a change that kubectl follows, however long it takes."""
    done = attempt(*arguments, f"--timeout={PATIENCE_S:.0f}s")
    assert done.returncode == 0, done.stderr
