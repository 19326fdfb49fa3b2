"""configure(), emit(), shutdown(): a run from its beginning to each of its ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import esper_otel
from esper_otel import runtime
from esper_otel.events import Decision, PolicyUpdate, Severity
from esper_otel.log import manifest
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.lock import LockHeldError
from esper_otel.log.reader import LogReader
from esper_otel.settings import gather
from tests.runtime.emitting_child import emit_in_child


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("ESPER_OTEL_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ESPER_OTEL_RELAY", "0")
    yield
    esper_otel.shutdown()


def read(run: Path) -> list[Record | BadLine]:
    with LogReader(run) as reader:
        return reader.read(1_000_000)


def types(run: Path) -> list[str]:
    return [item.event_type if isinstance(item, Record) else item.reason.value for item in read(run)]


def last(run: Path) -> dict[str, Any]:
    record = read(run)[-1]
    assert isinstance(record, Record)
    return {"event_type": record.event_type, **json.loads(record.data)}


def script(run_dir: Path, body: str, **env: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import os, signal, sys, time
import esper_otel
from esper_otel.events import Decision
telemetry = esper_otel.configure(telemetry_dir={str(run_dir)!r}, run_id="r")
esper_otel.emit(Decision(env_id=1))
{body}
"""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **env}
    )


def test_unconfigured_everything_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    esper_otel.emit(Decision(env_id=1))
    esper_otel.shutdown()

    assert [] == list(tmp_path.iterdir())


def test_a_run_has_a_log_a_manifest_and_is_the_latest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path)
    esper_otel.emit(Decision(env_id=1))
    running = manifest.read(telemetry.run_dir)
    esper_otel.shutdown()

    assert telemetry.run_dir == (tmp_path / "latest").resolve() == tmp_path / telemetry.run_id
    assert ["TAMIYO_DECISION", "RUN_ENDED"] == types(telemetry.run_dir)
    assert ("running", os.getpid(), "domains", 1) == tuple(
        running[name] for name in ("status", "pid", "stability", "world_size")
    )
    assert "finished" == manifest.read(telemetry.run_dir)["status"]
    assert {"emitted": 2, "written": 2} == telemetry.counters
    assert ("", "") == capfd.readouterr()


def test_what_the_caller_says_stands_in_the_envelope(tmp_path: Path) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, group_id="B", rank=1, world_size=2, run_id="r")
    esper_otel.emit(Decision(env_id=1), severity=Severity.ERROR, message="oh", timestamp_ns=1_000_000_000)
    esper_otel.emit(Decision(env_id=1), group_id="C")
    esper_otel.shutdown()

    first, second, _ = read(telemetry.run_dir)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert ("B", "error", "oh", 1_000_000_000, 1) == (
        first.group_id, first.severity, first.message, first.timestamp_ns, first.rank,
    )  # fmt: skip
    assert ("C", "debug", "") == (second.group_id, second.severity, second.message)


def test_times_do_not_step_back_with_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path)
    esper_otel.emit(Decision(env_id=1))
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    esper_otel.emit(Decision(env_id=2))
    esper_otel.shutdown()

    times = [item.timestamp_ns for item in read(telemetry.run_dir) if isinstance(item, Record)]
    assert sorted(times) == times


def test_a_second_configure_is_refused(tmp_path: Path) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path)

    with pytest.raises(RuntimeError, match=telemetry.run_id):
        esper_otel.configure(telemetry_dir=tmp_path)


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    esper_otel.configure(telemetry_dir=tmp_path, run_id="r")

    done = script(tmp_path, "")

    assert 1 == done.returncode
    assert f"{LockHeldError.__name__}: process {os.getpid()} already writes" in done.stderr


def test_a_run_can_be_continued(tmp_path: Path) -> None:
    for _ in range(2):
        esper_otel.configure(telemetry_dir=tmp_path, run_id="r")
        esper_otel.emit(Decision(env_id=1))
        esper_otel.shutdown()

    *before, third, fourth = [item.seq for item in read(tmp_path / "r") if isinstance(item, Record)]
    assert [1, 2] == before
    assert third is not None
    assert third > 2  # from the time of day, so that no number that was lost is given again
    assert third + 1 == fourth


@pytest.mark.parametrize(
    ("body", "outcome", "detail"),
    [
        ("", "interrupted", "the process ended without calling shutdown()"),
        ("sys.exit(3)", "interrupted", "the process ended without calling shutdown()"),
        ("raise ValueError('no data')", "failed", "ValueError: no data"),
        ("raise KeyboardInterrupt", "interrupted", "KeyboardInterrupt: "),
        ("esper_otel.shutdown('failed', 'loss is NaN')", "failed", "loss is NaN"),
    ],
)
def test_each_way_to_end_is_told(tmp_path: Path, body: str, outcome: str, detail: str) -> None:
    script(tmp_path, body)

    ended = last(tmp_path / "r")
    assert ("RUN_ENDED", outcome, detail) == (ended["event_type"], ended["outcome"], ended["detail"])
    assert outcome == manifest.read(tmp_path / "r")["status"]


@pytest.mark.parametrize("how", ["signal.SIGTERM", "signal.SIGKILL"])
def test_a_killed_run_keeps_what_is_older_than_50_ms(tmp_path: Path, how: str) -> None:
    done = script(tmp_path, f"time.sleep(0.2); os.kill(os.getpid(), {how})")

    assert done.returncode in (-signal.SIGTERM, -signal.SIGKILL)
    assert ["TAMIYO_DECISION"] == types(tmp_path / "r")
    assert "running" == manifest.read(tmp_path / "r")["status"]


def test_an_uncaught_exception_is_still_printed(tmp_path: Path) -> None:
    assert "ValueError: no data" in script(tmp_path, "raise ValueError('no data')").stderr


def test_a_training_process_loads_neither_otel_nor_torch(tmp_path: Path) -> None:
    done = script(tmp_path, "print([m for m in sys.modules if m.split('.')[0] in ('opentelemetry', 'torch', 'numpy')])")

    assert "[]\n" == done.stdout


def test_an_end_on_a_hanging_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    esper_otel.configure(telemetry_dir=tmp_path)
    monkeypatch.setattr("esper_otel.log.append.os.write", lambda fd, data: time.sleep(3) or len(data))
    esper_otel.emit(Decision(env_id=1))
    started = time.monotonic()
    esper_otel.shutdown(timeout_s=0.5)

    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_processes_neither_write_nor_hang(tmp_path: Path, method: str) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, heartbeat_s=0)
    for _ in range(3):
        esper_otel.emit(Decision(env_id=0))
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert list(range(8)) == pool.map_async(emit_in_child, range(8)).get(timeout=60)
    esper_otel.emit(Decision(env_id=0))
    esper_otel.shutdown()

    assert [*["TAMIYO_DECISION"] * 4, "RUN_ENDED"] == types(telemetry.run_dir)


def test_a_forked_child_that_ends_regularly_does_not_end_the_run(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        "if os.fork() == 0: sys.exit(0)\nos.wait(); esper_otel.emit(Decision(env_id=2)); esper_otel.shutdown()",
    )

    assert 0 == done.returncode, done.stderr
    assert ["TAMIYO_DECISION", "TAMIYO_DECISION", "RUN_ENDED"] == types(tmp_path / "r")


class Emitting(Dataset[torch.Tensor]):
    """A data set whose items emit, as code does that does not know where it runs."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> torch.Tensor:
        esper_otel.emit(Decision(env_id=index))
        return torch.zeros(1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers_of_a_data_loader_neither_write_nor_hang(tmp_path: Path) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path)
    for _ in range(3):
        loader = DataLoader(Emitting(), batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=60)
        assert 4 == sum(1 for _ in loader)
    esper_otel.emit(PolicyUpdate())
    esper_otel.shutdown()

    assert ["TAMIYO_POLICY_UPDATE", "RUN_ENDED"] == types(telemetry.run_dir)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "ESPER_OTEL_STABILITY_OPT_IN",
            "new",
            "ESPER_OTEL_STABILITY_OPT_IN must be one of domains, domains/dup, legacy",
        ),
        ("ESPER_OTEL_RELAY", "perhaps", "ESPER_OTEL_RELAY must be 0 or 1"),
        ("ESPER_OTEL_LINGER", "soon", "ESPER_OTEL_LINGER must be a number of seconds"),
        ("RANK", "first", "RANK must be a whole number"),
        ("ESPER_OTEL_RUN_ID", "../x", "run_id must be"),
        ("WORLD_SIZE", "4", "give run_id=… or set ESPER_OTEL_RUN_ID"),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        esper_otel.configure(telemetry_dir=tmp_path)
    assert runtime._Process.active is None


def settings_of(environment: dict[str, str], **arguments: Any) -> Any:
    names = ("telemetry_dir", "run_id", "rank", "world_size", "relay", "linger_s")
    return gather(**dict.fromkeys(names), group_id="default", environment=environment) if not arguments else gather(
        **{**dict.fromkeys(names), **arguments}, group_id="default", environment=environment
    )  # fmt: skip


def test_arguments_go_before_the_environment() -> None:
    environment = {"RANK": "1", "WORLD_SIZE": "4", "ESPER_OTEL_RUN_ID": "env", "ESPER_OTEL_LINGER": "7"}

    assert (1, 4, "env", 7.0) == tuple(
        getattr(settings_of(environment), name) for name in ("rank", "world_size", "run_id", "linger_s")
    )
    assert (2, "arg", 0.0) == tuple(
        getattr(settings_of(environment, rank=2, run_id="arg", linger_s=0.0), name)
        for name in ("rank", "run_id", "linger_s")
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"OTEL_SDK_DISABLED": "true"}, False),
        ({"ESPER_OTEL_RELAY": "0"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2", "ESPER_OTEL_RUN_ID": "x"}, False),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "ESPER_OTEL_RUN_ID": "x"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "ESPER_OTEL_RUN_ID": "x"}, False),
    ],
)
def test_the_first_process_of_a_node_starts_the_relay(environment: dict[str, str], expected: bool) -> None:
    assert expected is settings_of(environment).relay


def test_ranks_of_one_node_agree_on_a_run_id() -> None:
    env = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "29500"}

    ids = {settings_of({**env, "RANK": rank, "LOCAL_RANK": rank}).run_id for rank in ("0", "1")}
    assert 1 == len(ids)
    assert ids != {settings_of({**env, "RANK": "0", "TORCHELASTIC_RESTART_COUNT": "1"}).run_id}


def test_old_and_new_names_are_written_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPER_OTEL_STABILITY_OPT_IN", "domains/dup")
    telemetry = esper_otel.configure(telemetry_dir=tmp_path)
    esper_otel.emit(PolicyUpdate(policy_loss=0.5))
    esper_otel.shutdown()

    found = [(item.event_type, item.seq) for item in read(telemetry.run_dir) if isinstance(item, Record)]
    assert [("TAMIYO_POLICY_UPDATE", 1), ("PPO_UPDATE_COMPLETED", 1), ("RUN_ENDED", 2)] == found


def test_the_relay_is_started_beside_the_run_in_its_own_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "interpreter"
    fake.write_text('#!/bin/sh\necho "$@"\nps -o sid= -p $$ | tr -d " "\necho $$ oops >&2\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, relay=True, linger_s=2.5)
    log = telemetry.run_dir / "relay" / "relay.log"
    deadline = time.monotonic() + 10
    while log.read_text().count("\n") < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    esper_otel.shutdown()

    expected = f"-P -m esper_otel.relay {telemetry.run_dir} --follow --linger 2.5 --parent-pid {os.getpid()}"
    assert [expected, f"{telemetry.relay_pid}", f"{telemetry.relay_pid} oops"] == log.read_text().splitlines()


def test_a_relay_that_fails_is_said_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    esper_otel.configure(telemetry_dir=tmp_path, relay=True)
    time.sleep(0.2)
    esper_otel.shutdown()

    assert "the relay ended early with code 1; see " in capfd.readouterr().err


def test_a_directory_that_cannot_be_made_does_not_stop_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    telemetry = esper_otel.configure(telemetry_dir=tmp_path / "file", relay=True)
    esper_otel.emit(Decision(env_id=1))
    time.sleep(0.1)
    esper_otel.shutdown(timeout_s=0.2)

    said = capfd.readouterr().err
    assert 1 == said.count("the event log cannot be written")
    assert 2 == telemetry.counters["dropped.write_failed"]


def test_the_manifest_is_made_again_with_the_directory(tmp_path: Path) -> None:
    import shutil

    telemetry = esper_otel.configure(telemetry_dir=tmp_path)
    esper_otel.emit(Decision(env_id=1))
    time.sleep(0.1)
    shutil.rmtree(telemetry.run_dir)
    esper_otel.emit(Decision(env_id=2))
    esper_otel.shutdown()

    assert ("finished", os.getpid()) == tuple(manifest.read(telemetry.run_dir)[name] for name in ("status", "pid"))


def test_the_public_names_are_these() -> None:
    assert ["Telemetry", "configure", "emit", "shutdown"] == sorted(esper_otel.__all__)
