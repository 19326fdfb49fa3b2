"""A real relay writes to W&B in offline mode; the files are read back."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import RECORDINGS, recording
from tests.recordings.emit_recording import emitted
from tests.tools import python_environment
from tests.waiting import PATIENCE_S, wait_for
from tests.wandb.offline_runs import OfflineRun, offline_runs

SECRET = "correct-horse-battery-staple-0123456789abcd"


@pytest.fixture
def quiet_wandb(tmp_path: Path) -> dict[str, str]:
    """Environment that keeps wandb's own files inside the test."""
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home), "WANDB_DIR": str(home), "WANDB_PROJECT": "growth", "OTEL_METRICS_EXPORTER": "none"}


def relay(run: Path, *options: str, wandb: str = "offline", **environment: str) -> subprocess.CompletedProcess[str]:
    """A relay on ``run`` until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "esper_otel.relay", str(run), "--linger", "0", *options],
        env=python_environment(ESPER_OTEL_WANDB=wandb, **environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def payloads(name: str, event_type: str) -> list[dict[str, Any]]:
    """The payloads of one type in a recording, by plain JSON."""
    with gzip.open(recording(name), "rt") as lines:
        return [line["data"] for line in map(json.loads, lines) if line["event_type"] == event_type]


def column(runs: list[OfflineRun], name: str) -> list[Any]:
    """All cells of a column in the order of their rows."""
    return [row[name] for run in runs for row in run.rows if name in row]


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_stands_in_one_run_with_every_update_epoch_and_outcome(
    name: str, quiet_wandb: dict[str, str]
) -> None:
    ended = relay(recording(name), **quiet_wandb)
    (run,) = offline_runs(Path(quiet_wandb["WANDB_DIR"]))
    updates = payloads(name, "PPO_UPDATE_COMPLETED")
    epochs = payloads(name, "EPOCH_COMPLETED")
    rewards = [outcome["episode_reward"] for outcome in payloads(name, "EPISODE_OUTCOME")]

    assert (0, "growth", name, name) == (ended.returncode, run.project, run.run_id, run.group)
    assert list(range(len(run.rows))) == [row["_step"] for row in run.rows]
    assert [update["policy_loss"] for update in updates] == column([run], "tamiyo/policy_loss")
    assert [update["pre_clip_grad_norm"] for update in updates] == column([run], "tamiyo/pre_clip_grad_norm")
    assert [update["head_slot_entropy"] for update in updates] == column([run], "tamiyo/head_slot_entropy")
    for env_id in (0, 1):
        own = [epoch["val_accuracy"] for epoch in epochs if epoch["env_id"] == env_id]
        assert own == column([run], f"tolaria/env_{env_id}/val_accuracy")
    envs = len({epoch["env_id"] for epoch in epochs})
    assert sum(rewards) == pytest.approx(sum(column([run], "simic/episode_reward")) * envs)


def test_the_configuration_is_that_of_training_started(quiet_wandb: dict[str, str]) -> None:
    relay(recording("esper-lite-2env"), **quiet_wandb)
    (run,) = offline_runs(Path(quiet_wandb["WANDB_DIR"]))
    (started,) = payloads("esper-lite-2env", "TRAINING_STARTED")
    same = {"task", "n_envs", "max_epochs", "seed", "lr", "clip_ratio", "reward_mode", "policy_device"}

    assert same <= started.keys()
    assert {name: started[name] for name in same} == {name: run.config[name] for name in same}


def test_every_group_is_drawn_over_its_own_axis(quiet_wandb: dict[str, str]) -> None:
    relay(recording("esper-lite-2env"), **quiet_wandb)
    (run,) = offline_runs(Path(quiet_wandb["WANDB_DIR"]))

    assert ("tamiyo/update", "tolaria/epoch") == (run.axes["tamiyo/*"], run.axes["tolaria/*"])
    assert ("simic/batch", "infra/batch") == (run.axes["simic/*"], run.axes["infra/*"])


def test_nothing_of_the_relays_process_is_written(quiet_wandb: dict[str, str]) -> None:
    secrets = {
        "WANDB_API_KEY": SECRET[:40],
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SECRET}",
        "MY_TOKEN": SECRET,
    }
    relay(recording("esper-lite-2env"), **quiet_wandb, **secrets)
    files = [path for path in Path(quiet_wandb["HOME"]).rglob("*") if path.is_file()]

    assert any(path.suffix == ".wandb" for path in files)
    assert [] == [path.name for path in files if SECRET[:40].encode() in path.read_bytes()]
    assert not [path for path in files if path.name in {"requirements.txt", "wandb-metadata.json", "output.log"}]
    assert not [path for path in files if path.suffix == ".wandb" and sys.executable.encode() in path.read_bytes()]


def test_a_run_that_was_written_is_not_written_again(tmp_path: Path, quiet_wandb: dict[str, str]) -> None:
    run = emitted(recording("esper-lite-2env"), tmp_path / "telemetry")
    relay(run, **quiet_wandb)
    once = offline_runs(Path(quiet_wandb["WANDB_DIR"]))
    relay(run, **quiet_wandb)

    assert 1 == len(once) == len(offline_runs(Path(quiet_wandb["WANDB_DIR"])))


def test_a_relay_killed_on_the_way_goes_on_with_the_same_run_and_loses_no_row(
    tmp_path: Path, quiet_wandb: dict[str, str]
) -> None:
    whole = emitted(recording("esper-lite-3env-3slot"), tmp_path / "telemetry")
    run = tmp_path / "growing" / "run"
    run.mkdir(parents=True)
    lines = (whole / "events.jsonl").read_bytes().splitlines(keepends=True)
    log = run / "events.jsonl"
    log.write_bytes(b"".join(lines[: len(lines) // 2]))
    wandb_dir = Path(quiet_wandb["WANDB_DIR"])
    command = [sys.executable, "-m", "esper_otel.relay", str(run), "--follow"]
    env = python_environment(ESPER_OTEL_WANDB="offline", **quiet_wandb)
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as first:
        wait_for((run / "relay" / "wandb.json").exists, "the stored position")
        os.kill(first.pid, signal.SIGKILL)
    with log.open("ab") as file:
        file.write(b"".join(lines[len(lines) // 2 :]))
    relay(run, "--follow", "--idle-exit", "1", **quiet_wandb)

    runs = offline_runs(wandb_dir)
    by_step = {row["_step"]: row for found in runs for row in found.rows}
    losses = [row["tamiyo/policy_loss"] for _, row in sorted(by_step.items()) if "tamiyo/policy_loss" in row]

    assert (2, {"run"}) == (len(runs), {found.run_id for found in runs})
    assert list(range(len(by_step))) == sorted(by_step)
    assert {row["_step"]: row for row in runs[0].rows} == {row["_step"]: by_step[row["_step"]] for row in runs[0].rows}
    assert [u["policy_loss"] for u in payloads("esper-lite-3env-3slot", "PPO_UPDATE_COMPLETED")] == losses


def test_a_relay_stopped_on_the_way_leaves_no_row_out_and_none_twice(
    tmp_path: Path, quiet_wandb: dict[str, str]
) -> None:
    whole = emitted(recording("esper-lite-2env"), tmp_path / "telemetry")
    run = tmp_path / "growing" / "run"
    run.mkdir(parents=True)
    lines = (whole / "events.jsonl").read_bytes().splitlines(keepends=True)
    log = run / "events.jsonl"
    log.write_bytes(b"".join(lines[: len(lines) // 2]))
    relay(run, "--follow", "--idle-exit", "1", **quiet_wandb)
    with log.open("ab") as file:
        file.write(b"".join(lines[len(lines) // 2 :]))
    relay(run, "--follow", "--idle-exit", "1", **quiet_wandb)
    steps = [row["_step"] for found in offline_runs(Path(quiet_wandb["WANDB_DIR"])) for row in found.rows]

    assert len(steps) > 20
    assert list(range(len(steps))) == steps


def test_each_arm_of_an_ab_run_is_a_run_of_one_group(tmp_path: Path, quiet_wandb: dict[str, str]) -> None:
    lines = []
    for arm, at in (("A", "01"), ("B", "02")):
        for kind, data in (("TRAINING_STARTED", {"task": arm}), ("PPO_UPDATE_COMPLETED", {"policy_loss": 1.0})):
            when = f"2026-01-01T00:00:{at}+00:00"
            lines.append({"event_type": kind, "timestamp": when, "group_id": arm, "data": data})
    log = tmp_path / "ab.jsonl"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    relay(log, **quiet_wandb)
    runs = offline_runs(Path(quiet_wandb["WANDB_DIR"]))

    assert {("ab-A", "ab", "A"), ("ab-B", "ab", "B")} == {(run.run_id, run.group, run.config["task"]) for run in runs}
    assert {1} == {len(run.rows) for run in runs}
