"""A run over several processes: whoever goes on with it, and whenever, is followed and counted once."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.processes import Trainer, end_process, is_running, seen
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import announced_url, environment, lines_of, manifest, relay, scrape, wait_for
from tests.tools import ROOT
from tests.waiting import PATIENCE_S


@pytest.fixture
def relays() -> Iterator[list[int]]:
    """Process ids of relays that trainers started; they are ended afterwards."""
    started: list[int] = []
    yield started
    for pid in started:
        end_process(pid)


def relay_pid(run: Path) -> int:
    return int(wait_for(lambda: (manifest(run).get("relay") or {}).get("pid"), "the announcement of a relay"))


def shows(run: Path, updates: int, state: str) -> bool:
    entry = manifest(run).get("relay") or {}
    return bool(entry.get("prometheus_url")) and seen(entry["prometheus_url"]) == (updates, state)


def session(tmp_path: Path, updates: int, *options: str, **env: str) -> Trainer:
    trainer = Trainer(tmp_path, "run", "--relay", *options, **env)
    trainer.emit(updates)
    return trainer


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_a_run_that_goes_on_while_its_relay_lingers_is_followed(tmp_path: Path, relays: list[int], how: str) -> None:
    first = session(tmp_path, 20, "--linger", "600")
    run = tmp_path / "run"
    relays.append(relay_pid(run))
    first.end("finished") if how == "ended" else first.kill()
    wait_for(lambda: shows(run, 20, "finished" if how == "ended" else "died"), "the end")
    second = session(tmp_path, 30, "--linger", "600")

    wait_for(lambda: shows(run, 50, "running"), "the second session's updates")
    second.end("interrupted")
    wait_for(lambda: shows(run, 50, "interrupted"), "the second end")
    assert relay_pid(run) == relays[0]
    assert manifest(run)["status"] == "interrupted"


def test_a_run_that_goes_on_while_its_relay_drains_is_followed(tmp_path: Path, relays: list[int]) -> None:
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        first = session(tmp_path, 20, **env)
        run = tmp_path / "run"
        relays.append(relay_pid(run))
        first.end("finished")
        wait_for(lambda: shows(run, 20, "finished"), "the end")
        session(tmp_path, 30, **env)

        wait_for(lambda: shows(run, 50, "running"), "the second session's updates")
        assert relay_pid(run) == relays[0]


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_a_run_that_goes_on_when_its_relay_is_gone_gets_another(tmp_path: Path, relays: list[int], how: str) -> None:
    first = session(tmp_path, 20, "--linger", "0")
    run = tmp_path / "run"
    first_relay = relay_pid(run)
    first.end("finished") if how == "ended" else first.kill()
    wait_for(lambda: not is_running(first_relay), "the end of the first relay")
    second = session(tmp_path, 30, "--linger", "600")  # emits no TrainingStarted

    wait_for(lambda: shows(run, 50, "running"), "the second session's updates")
    relays.append(relay_pid(run))
    second.end("finished")
    wait_for(lambda: shows(run, 50, "finished"), "the second end")


def test_one_process_may_configure_the_same_run_twice(tmp_path: Path, relays: list[int]) -> None:
    script = f"""
import esper_otel, time
from esper_otel.events import PolicyUpdate
for part in range(2):
    esper_otel.configure(telemetry_dir={str(tmp_path)!r}, run_id="run", linger_s=600)
    for number in range(50):
        esper_otel.emit(PolicyUpdate(ppo_update_idx=number))
    print(part, flush=True)
    input()
    esper_otel.shutdown()
"""
    run = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        for expected in (50, 100):
            child.stdout.readline()
            wait_for(lambda count=expected: shows(run, count, "running"), f"{expected} updates")
            relays.append(relay_pid(run))
            child.stdin.write(b"\n")
            child.stdin.flush()
        child.communicate(timeout=PATIENCE_S)
        wait_for(lambda: shows(run, 100, "finished"), "the end")
        assert child.returncode == 0
        assert len(set(relays)) == 1
    finally:
        child.kill()
        child.communicate()


def test_an_elastic_run_that_goes_on_with_fewer_ranks_and_finishes_is_finished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    four = [Trainer(tmp_path, "run", rank=rank, world_size=4) for rank in range(4)]
    with relay(run, "--follow", "--linger", "600") as server:
        url = announced_url(run, server.pid)
        for trainer in four:
            trainer.emit(5)
            trainer.kill()
        wait_for(lambda: seen(url) == (20, "died"), "the deaths")
        two = [Trainer(tmp_path, "run", rank=rank, world_size=2) for rank in range(2)]
        for trainer in two:
            trainer.emit(5)
        wait_for(lambda: seen(url) == (30, "running"), "the second session")
        for trainer in two:
            trainer.end("finished")
        wait_for(lambda: seen(url) == (30, "finished"), "the end")
    wait_for(lambda: manifest(run)["status"] == "finished", "the status")


def test_one_rank_that_dies_while_another_finishes_makes_the_run_a_dead_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    both = [Trainer(tmp_path, "run", rank=rank, world_size=2) for rank in range(2)]
    with relay(run, "--follow", "--linger", "600") as server:
        url = announced_url(run, server.pid)
        for trainer in both:
            trainer.emit(5)
        both[1].kill()
        both[0].end("finished")
        wait_for(lambda: seen(url) == (10, "died"), "the death")
        wait_for(lambda: manifest(run)["status"] == "died", "the status")


def test_every_node_of_a_shared_directory_has_a_relay_for_its_own_ranks(tmp_path: Path, relays: list[int]) -> None:
    run = tmp_path / "run"
    host = socket.gethostname()
    env = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    trainers = [Trainer(tmp_path, "run", "--relay", "--linger", "600", rank=r, world_size=2, **env) for r in range(2)]
    for trainer in trainers:
        trainer.emit(10)
    relays.append(relay_pid(run))  # both ranks are on one node here, so that one relay has both

    wait_for(lambda: shows(run, 20, "running"), "the updates of both")
    assert (run / f"relay.{host}" / "relay.log").exists()
    _move_to_another_node(run, rank=1)
    with relay(run, "--follow", "--of-node", "--state-dir", str(tmp_path / "state"), "--linger", "600") as server:
        url = announced_url(run, server.pid)
        wait_for(lambda: seen(url) == (10, "running"), "the updates of this node's rank alone")


@pytest.mark.parametrize(("elsewhere", "instance"), [(1, "run"), (0, f"run@{socket.gethostname()}")])
def test_the_relays_of_two_nodes_have_instances_of_their_own(tmp_path: Path, elsewhere: int, instance: str) -> None:
    run = tmp_path / "run"
    for rank in range(2):
        Trainer(tmp_path, "run", rank=rank, world_size=2).emit(10)
    _move_to_another_node(run, rank=elsewhere)
    name = "relay" if elsewhere == 1 else f"relay.{socket.gethostname()}"
    with OtlpReceiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint, "OTEL_METRICS_EXPORTER": "prometheus,otlp"}
        with relay(run, "--follow", "--of-node", "--linger", "600", OTEL_METRIC_EXPORT_INTERVAL="200", **env):
            url = wait_for(lambda: (manifest(run).get(name) or {}).get("prometheus_url"), "the relay")
            wait_for(lambda: f'service_instance_id="{instance}"' in scrape(url), "the instance in a scrape")
            (entry,) = json.loads((tmp_path / "prometheus_targets.json").read_text())
            assert entry["labels"]["instance"] == instance
            wait_for(lambda: receiver.metrics and receiver.logs, "the delivery")
    assert {resource["service.instance.id"] for resource in receiver.resources} == {instance}


def _move_to_another_node(run: Path, rank: int) -> None:
    """Change the lock's note as if the rank had been started there."""
    lock = run / f".writer.rank{rank}.lock"
    text = lock.read_text()
    with lock.open("r+") as file:
        file.write(text.replace(f'"host": "{socket.gethostname()}"', '"host": "elsewhere"').rstrip().ljust(255) + "\n")


def test_the_end_of_an_earlier_session_does_not_overwrite_the_status_of_the_next(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = Trainer(tmp_path, "run")
    first.emit(5)
    first.kill()
    with relay(run, "--follow", "--linger", "600") as server:
        url = announced_url(run, server.pid)
        wait_for(lambda: seen(url) == (5, "died"), "the death")
        second = Trainer(tmp_path, "run")
        second.emit(5)
        wait_for(lambda: seen(url) == (10, "running"), "the second session")
        server.terminate()
        server.communicate(timeout=PATIENCE_S)
    assert manifest(run)["status"] == "running"
    assert [line["data"]["reported_by"] for line in lines_of(run) if line["event_type"] == "RUN_ENDED"] == ["relay"]


def test_a_session_that_emitted_nothing_before_it_was_killed_ends_a_finished_run_as_died(
    tmp_path: Path, relays: list[int]
) -> None:
    first = session(tmp_path, 20, "--linger", "600")
    run = tmp_path / "run"
    relays.append(relay_pid(run))
    first.end("finished")
    wait_for(lambda: shows(run, 20, "finished"), "the end")
    second = session(tmp_path, 0, "--linger", "600")
    wait_for(lambda: shows(run, 20, "running"), "the second session")

    second.kill()

    wait_for(lambda: shows(run, 20, "died"), "the death of the second session")
    assert lines_of(run)[-1]["data"]["outcome"] == "died"
