"""The table "What is lost when" of deploy/k8s/README.md, walked: one training each, through one event."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest

from scripts.cluster.places import NODE
from tests.cluster import backend, measured
from tests.cluster.arrived import Losses, Sink, losses, recorded
from tests.cluster.conftest import Installed, Lost, until_done
from tests.cluster.kubectl import (
    AGENT,
    GATEWAY,
    OBSERVABILITY,
    TRAINING,
    attempt,
    container_of,
    kubectl,
    objects,
    wait_for_collectors,
)
from tests.cluster.monitoring import Prometheus
from tests.cluster.training import Training, kill
from tests.waiting import PATIENCE_S, wait_for

AWAY_S = 60.0

pytestmark = pytest.mark.usefixtures("prometheus")


@pytest.fixture
def through(lost: Lost) -> Callable[..., Losses]:
    """Trains, lets something happen after some rounds, and says what is lost of that run."""

    def walk(name: str, happens: Callable[[], object], what: str, *, rounds: int = 24) -> Losses:
        training = Training(name, rounds=rounds)
        training.wait_for_round(6)
        happens()
        assert "Complete" == training.end()
        wait_for_collectors()
        found = lost(training)
        measured.note(what, found)
        return found

    return walk


def first(selector: str) -> str:
    """Name of the first collector of a kind."""
    name: str = objects("pods", OBSERVABILITY, selector)[0]["metadata"]["name"]
    return name


def kill_first(selector: str) -> None:
    """Kill the first collector of a kind by SIGKILL, in its pod."""
    kill(container_of(objects("pods", OBSERVABILITY, selector)[0], "collector"))


def roll(workload: str) -> None:
    """Restart the pods of a workload in turn."""
    kubectl("-n", OBSERVABILITY, "rollout", "restart", workload)
    until_done("-n", OBSERVABILITY, "rollout", "status", workload)


def test_nothing_is_lost_when_an_agent_crashes(through: Callable[..., Losses]) -> None:
    assert through("agent-killed", lambda: kill_first(AGENT), "agent killed (SIGKILL), restarted in its pod").nothing


def test_a_second_at_most_is_lost_when_an_agents_pod_is_deleted(through: Callable[..., Losses]) -> None:
    found = through(
        "agent-deleted",
        lambda: kubectl("-n", OBSERVABILITY, "delete", "pod", first(AGENT)),
        "agent's pod deleted",
    )

    assert found.rounds <= 2
    assert found.lost_events <= found.events / 24


def test_a_second_at_most_is_lost_when_agents_are_restarted_in_turn(through: Callable[..., Losses]) -> None:
    found = through("agent-rolled", lambda: roll("daemonset/esper-agent"), "agents restarted in turn")

    assert found.rounds <= 2
    assert found.lost_events <= found.events / 24


def test_nothing_is_lost_when_a_gateways_pod_is_deleted(through: Callable[..., Losses]) -> None:
    found = through(
        "gateway-deleted",
        lambda: kubectl("-n", OBSERVABILITY, "delete", "pod", first(GATEWAY)),
        "gateway's pod deleted",
    )

    assert found.nothing


def test_nothing_is_lost_when_gateways_are_restarted_in_turn(through: Callable[..., Losses]) -> None:
    found = through(
        "gateway-rolled", lambda: roll("statefulset/esper-gateway"), "gateways restarted in turn", rounds=60
    )

    assert found.nothing


def test_no_alert_on_collectors_fires_where_nothing_was_lost(prometheus: Prometheus) -> None:
    fired = 'max_over_time(ALERTS{alertname=~"EsperCollector.+", alertstate="firing"}[1h])'

    assert [] == prometheus.labels(fired)


def test_spans_of_open_rounds_alone_are_lost_when_a_gateway_crashes_and_an_alert_names_it(
    through: Callable[..., Losses], prometheus: Prometheus
) -> None:
    killed = first(GATEWAY)
    found = through("gateway-killed", lambda: kill_first(GATEWAY), "gateway killed (SIGKILL), restarted in its pod")

    assert 0 == found.lost_events
    assert found.rounds < 24 / 2
    firing = f'ALERTS{{alertname="EsperCollectorRoundsLost", alertstate="firing", instance="{killed}"}}'
    wait_for(lambda: prometheus.labels(firing), "the alert", every_s=2.0)


def test_nothing_is_lost_when_the_relay_crashes(lost: Lost) -> None:
    training = Training("relay-killed", rounds=24)
    training.wait_for_round(6)
    kill(container_of(training.pod, "relay"))
    assert "Complete" == training.end()
    found = lost(training)
    measured.note("relay killed (SIGKILL), restarted in its pod", found)

    assert 1 == container_of(training.pod, "relay")["restartCount"]
    assert found.nothing


def test_nothing_is_lost_while_the_backends_are_away(through: Callable[..., Losses]) -> None:
    def away() -> None:
        backend.go_away()
        time.sleep(AWAY_S)
        backend.come_back()

    assert through("backend-away", away, f"backends away for {AWAY_S:.0f} s", rounds=45).nothing


def test_nothing_is_lost_when_back_ends_answer_503_and_a_gateway_is_deleted_meanwhile(
    through: Callable[..., Losses],
) -> None:
    def refuse() -> None:
        answer = backend.DIRECTORY / "answer"
        answer.write_text("503")
        kubectl("-n", OBSERVABILITY, "delete", "pod", first(GATEWAY))
        answer.unlink()

    assert through("backend-503", refuse, "backends answer 503, a gateway's pod deleted meanwhile").nothing


def test_nothing_is_lost_while_the_relays_token_is_rotated(
    installed: Installed, through: Callable[..., Losses]
) -> None:
    old, new = (installed.files / "relay-token").read_text(), "a-new-token"

    def rotate() -> None:
        write_token(OBSERVABILITY, f"{new}\n{old}")
        wait_for(lambda: status(installed, new) == 200, "the new token to be taken", every_s=1.0)

    assert (200, 401) == (status(installed, old), status(installed, new))
    began = time.monotonic()
    found = through("rotated", rotate, "relays' token rotated, both taken meanwhile")
    write_token(TRAINING, new)
    assert through("rotated-new", lambda: write_token(OBSERVABILITY, new), "the same, old token taken away").nothing
    wait_for(lambda: status(installed, old) == 401, "the old token to be refused", every_s=1.0)
    measured.note(
        "token rotated: from the first change to the refusal of the old one", f"{time.monotonic() - began:.0f} s"
    )

    assert found.nothing


def test_a_drained_node_ends_the_trainer_in_order_and_the_job_begins_again_elsewhere(
    lost: Lost, sink: Sink, tmp_path_factory: pytest.TempPathFactory
) -> None:
    training = Training("drained", rounds=40)
    training.wait_for_round(6)
    drained = attempt(*drain("app.kubernetes.io/component=trainer"), f"--timeout={PATIENCE_S:.0f}s")
    kubectl("uncordon", NODE)
    assert drained.returncode == 0, drained.stderr
    found = lost(training)
    measured.note("node drained of the trainer", found)
    (again,) = wait_for(
        lambda: [pod for pod in training.pods() if pod["metadata"]["name"] != training.pod_name], "a pod"
    )

    assert "Complete" == training.end()
    assert found.nothing
    second = again["metadata"]["name"]
    told = recorded(training.directory / second, tmp_path_factory.mktemp("second"))
    wait_for(lambda: losses(told, sink.of(second)).nothing, "the delivery of the second run", every_s=2.0)


def test_a_drain_takes_one_gateway_at_a_time(through: Callable[..., Losses]) -> None:
    def drain_gateways() -> None:
        drained = attempt(*drain(GATEWAY), "--timeout=25s")
        kubectl("uncordon", NODE)
        assert "violate the pod's disruption budget" in drained.stderr

    assert through("gateways-drained", drain_gateways, "node drained of gateways, as far as the budget lets it").nothing


def drain(selector: str) -> list[str]:
    """Arguments for a drain of some pods of the only node."""
    return ["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector", selector]


def write_token(namespace: str, token: str) -> None:
    """Change the relays' token."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "esper-relay-token", "namespace": namespace},
        "stringData": {"token": token},
    }
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(secret))


def status(installed: Installed, token: str) -> int:
    """What the agent answers to a request with a token."""
    name, address = "esper-agent.observability.svc", objects("pods", OBSERVABILITY, AGENT)[0]["status"]["podIP"]
    asked = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(installed.files / "ca.crt")]
    asked += ["--resolve", f"{name}:4318:{address}", "-H", f"Authorization: Bearer {token}"]
    asked += ["-H", "Content-Type: application/json", "-d", "{}", f"https://{name}:4318/v1/logs"]
    return int(subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE_S).stdout)
