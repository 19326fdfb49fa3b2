"""The file in which Prometheus finds relays: each address once, each relay under its own name, none after its end."""

from __future__ import annotations

import gzip
import json
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from esper_otel.relay.prometheus.endpoint import Endpoint
from esper_otel.relay.prometheus.exposition import FamilyCollector
from esper_otel.relay.prometheus.targets import HOST_LABEL, Target, announce, keep, target_of, withdraw
from tests.prometheus.real_prometheus import prometheus_on
from tests.recorded import recording
from tests.relay.processes import announced_url, process, relay, training, wait_for
from tests.tools import tool
from tests.waiting import PATIENCE_S


def listed(directory: Path) -> list[dict[str, Any]]:
    path = directory / "prometheus_targets.json"
    entries: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return entries


def instances(directory: Path) -> list[str]:
    return [entry["labels"]["instance"] for entry in listed(directory)]


def entry(port: int, run: str, *, host: str = "127.0.0.1", node: str | None = None) -> Target:
    target = target_of(host, port, job="esper", instance=run, run=run)
    return target if node is None else Target(target.targets, {**target.labels, HOST_LABEL: node})


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:9464"),
        ("::1", "[::1]:9464"),
        ("node7.example", "node7.example:9464"),
        ("0.0.0.0", f"{socket.gethostname()}:9464"),
        ("::", f"{socket.gethostname()}:9464"),
    ],
)
def test_an_address_is_one_that_prometheus_can_ask(host: str, address: str) -> None:
    assert [address] == entry(9464, "run", host=host).targets


def test_a_relay_that_takes_the_port_of_one_that_was_killed_takes_its_place(tmp_path: Path, port: int) -> None:
    announce(tmp_path, entry(port, "monday"))
    announce(tmp_path, entry(port, "tuesday"))

    assert ["tuesday"] == instances(tmp_path)


def test_entries_at_whose_address_nobody_listens_are_removed_by_whoever_comes_next(
    tmp_path: Path, port: int, free_port: int
) -> None:
    for number, host in enumerate(("127.0.0.1", "localhost", "0.0.0.0")):
        announce(tmp_path, entry(free_port, f"gone-{number}", host=host))
    announce(tmp_path, entry(port, "alive"))
    announce(tmp_path, entry(1, "next"))

    assert ["alive", "next"] == instances(tmp_path)


def test_entries_of_other_hosts_stay_even_at_the_same_loopback_address(tmp_path: Path, free_port: int) -> None:
    announce(tmp_path, entry(free_port, "run-b", node="node-b"))
    announce(tmp_path, entry(free_port, "run-a", node="node-a"))
    announce(tmp_path, entry(free_port, "run-a", node="node-c"))

    assert ["run-b", "run-a", "run-a"] == instances(tmp_path)


def test_a_relay_withdraws_its_own_entry_and_no_other(tmp_path: Path, port: int) -> None:
    mine, continued = entry(1, "run"), entry(port, "run")
    announce(tmp_path, mine)
    announce(tmp_path, continued)
    withdraw(tmp_path, mine)
    assert ["run"] == instances(tmp_path)

    withdraw(tmp_path, continued)
    assert [] == listed(tmp_path)


@pytest.mark.parametrize(
    "foreign",
    [
        {"targets": ["192.0.2.1:9100"]},
        {"targets": ["127.0.0.1:1"], "labels": {"rack": 7}, "comment": "of an administrator"},
        {"targets": "none", "labels": None},
    ],
)
def test_an_entry_that_no_relay_made_stays_and_costs_nobody_s(
    tmp_path: Path, port: int, foreign: dict[str, Any]
) -> None:
    announce(tmp_path, entry(port, "alive"))
    (tmp_path / "prometheus_targets.json").write_text(json.dumps([*listed(tmp_path), foreign]))
    announce(tmp_path, entry(1, "next"))
    withdraw(tmp_path, entry(1, "next"))

    assert foreign in listed(tmp_path)
    assert ["alive"] == [one["labels"]["instance"] for one in listed(tmp_path) if one != foreign]


def test_runs_to_which_their_user_gave_one_instance_are_both_listed(tmp_path: Path, port: int) -> None:
    for number, run in ((port, "a"), (1, "b")):
        announce(tmp_path, target_of("127.0.0.1", number, job="esper", instance="node7", run=run))

    assert ["a", "b"] == [one["labels"]["__param_run"] for one in listed(tmp_path)]


def test_an_entry_that_was_lost_is_listed_again_unless_a_living_relay_took_its_place(
    tmp_path: Path, port: int, free_port: int
) -> None:
    keep(tmp_path, entry(1, "run"))
    assert [["127.0.0.1:1"]] == [one["targets"] for one in listed(tmp_path)]

    announce(tmp_path, entry(port, "run"))
    keep(tmp_path, entry(1, "run"))
    assert [[f"127.0.0.1:{port}"]] == [one["targets"] for one in listed(tmp_path)]

    announce(tmp_path, entry(free_port, "run"))
    keep(tmp_path, entry(1, "run"))
    assert [["127.0.0.1:1"]] == [one["targets"] for one in listed(tmp_path)]


def test_a_relay_that_listens_on_a_name_is_listed_where_it_listens(tmp_path: Path) -> None:
    """The address of a host's name need not be one of the loopback interface's: nobody would answer there."""
    endpoint = Endpoint(FamilyCollector(list, {}), "localhost", 0, "run")
    announce(tmp_path, entry(endpoint.port, "run", host=endpoint.host))
    announce(tmp_path, entry(1, "next"))
    endpoint.close()

    assert ["run", "next"] == instances(tmp_path)
    assert endpoint.host in {"127.0.0.1", "::1"}


def test_a_relay_is_found_again_after_a_cleaner_and_after_another_relay_of_its_run(tmp_path: Path) -> None:
    def urls() -> tuple[str, str]:
        address = next((one["targets"][0] for one in listed(tmp_path)), "")
        return address, json.loads((tmp_path / "run" / "run.json").read_text())["relay"]["prometheus_url"]

    with training(tmp_path, "--rounds", "2") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    with relay(tmp_path / "run", "--linger", "600") as first:
        announced_url(tmp_path / "run", first.pid)
        wait_for(lambda: instances(tmp_path) == ["run"], "the listing")
        found = urls()
        (tmp_path / "prometheus_targets.json").unlink()
        wait_for(lambda: urls() == found, "the listing again")
        with relay(tmp_path / "run", "--linger", "600", "--state-dir", str(tmp_path / "state")) as second:
            announced_url(tmp_path / "run", second.pid)
            wait_for(lambda: urls()[0] not in ("", found[0]), "the second relay's entry")
        wait_for(lambda: urls() == found, "the first relay's entries")
        first.terminate()


def test_an_address_of_nobody_s_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    written = [{"targets": [address], "labels": {"instance": address}} for address in ("192.0.2.1:22", "x:1", "y", "")]
    (tmp_path / "prometheus_targets.json").write_text(json.dumps(written))
    announce(tmp_path, entry(1, "run"))

    assert [] == asked
    assert 5 == len(listed(tmp_path))


def test_a_lock_that_another_process_holds_is_not_waited_for_for_long(tmp_path: Path) -> None:
    path = tmp_path / ".prometheus_targets.json.lock"
    announce(tmp_path, entry(1, "first"))
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    code = f"from esper_otel.log.locks.lock import FileLock; from pathlib import Path; import sys, time\n\
l = FileLock(Path({str(path)!r})); l.acquire(); print('held', flush=True); sys.stdin.read()"
    with process("-c", code) as holder:
        assert holder.stdout is not None
        assert "held" == holder.stdout.readline().strip()
        began = time.monotonic()
        announce(tmp_path, entry(2, "second"))
        assert time.monotonic() - began < 20

    assert ["second"] == instances(tmp_path)


@pytest.mark.parametrize(
    ("query", "is_served"), [("", True), ("?run=lr%3D0.5", True), ("?run=b", False), ("?run=", False)]
)
def test_an_endpoint_answers_for_its_own_run_alone(query: str, is_served: bool) -> None:
    endpoint = Endpoint(FamilyCollector(list, {"k": "v"}), "127.0.0.1", 0, "lr=0.5")
    answer = requests.get(endpoint.url + query, timeout=PATIENCE_S)
    endpoint.close()

    assert (200 if is_served else 404) == answer.status_code
    assert is_served == ("target_info" in answer.text)


def test_prometheus_never_shows_a_run_s_figures_under_the_name_of_another(tmp_path: Path) -> None:
    """A run of another host is listed at the same loopback address: nothing can tell that its relay is gone."""
    tool("prometheus")
    (tmp_path / "tsdb").mkdir()
    with training(tmp_path, "--rounds", "2") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    with relay(tmp_path / "run", "--linger", "60") as server:
        port = int(announced_url(tmp_path / "run", server.pid).rsplit(":", 1)[1].partition("/")[0])
        wait_for(lambda: instances(tmp_path) == ["run"], "the listing")
        announce(tmp_path, entry(port, "other", node="node-b"))
        with prometheus_on(tmp_path / "prometheus_targets.json", tmp_path / "tsdb") as prometheus:
            prometheus.wait_for("count(up) == 2 and sum(up) == 1")
            found = prometheus.query("count by (instance) (esper_events_total)")
            up = {one["metric"]["instance"]: float(one["value"][1]) for one in prometheus.query("up")}

    assert ["run"] == [one["metric"]["instance"] for one in found]
    assert {"run": 1.0, "other": 0.0} == up


def test_a_relay_without_an_endpoint_takes_nobody_s_entry_away(tmp_path: Path, port: int) -> None:
    with training(tmp_path, "--rounds", "2") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    announce(tmp_path, entry(port, "run"))
    with relay(tmp_path / "run", OTEL_METRICS_EXPORTER="none") as server:
        server.communicate(timeout=PATIENCE_S)

    assert ["run"] == instances(tmp_path)


@pytest.mark.parametrize("given", ["directory", "run", "file"])
def test_a_log_of_esper_lite_that_is_followed_is_listed_beside_the_runs(tmp_path: Path, given: str) -> None:
    run = tmp_path / "lite" / "telemetry_2026-01-01_000000"
    run.mkdir(parents=True)
    (run / "events.jsonl").write_bytes(gzip.decompress(recording("esper-lite-3env-3slot").read_bytes()))
    path = {"directory": run.parent, "run": run, "file": run / "events.jsonl"}[given]
    beside = run if given == "file" else run.parent
    with relay(path, "--follow") as server:
        wait_for((beside / "prometheus_targets.json").exists, "the listing")
        assert 1 == len(listed(beside))
        server.terminate()
        server.communicate(timeout=PATIENCE_S)

    assert [] == listed(beside)
