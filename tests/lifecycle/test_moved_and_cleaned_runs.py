"""A run whose directory is renamed, whose files a cleaner removes, or whose disk is full: the state stays right."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.lifecycle.processes import Trainer, seen
from tests.relay.processes import announced_url, environment, lines_of, manifest, relay, wait_for
from tests.tools import ROOT
from tests.waiting import PATIENCE_S


def test_a_run_that_is_renamed_while_it_is_trained_is_followed_under_its_new_name(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    trainer = Trainer(tmp_path, "old")
    trainer.emit(10)
    with relay(old, "--follow", "--linger", "600") as server:
        url = announced_url(old, server.pid)
        wait_for(lambda: seen(url) == (10, "running"), "the first updates")
        old.rename(new)
        trainer.emit(2_000)  # several segments
        wait_for(lambda: seen(url) == (2_010, "running"), "the updates after the renaming")
        trainer.end("finished")
        wait_for(lambda: seen(url) == (2_010, "finished"), "the end")
        assert announced_url(new, server.pid) == url

    assert not old.exists()
    assert manifest(new)["status"] == "finished"
    assert len(list(new.glob("events.0*.jsonl"))) > 1
    assert (new / "relay" / "metrics.json").exists()
    assert (tmp_path / "latest").resolve() == new


def test_a_run_that_is_renamed_is_dead_when_its_trainer_dies(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    trainer = Trainer(tmp_path, "old")
    trainer.emit(10)
    with relay(old, "--follow", "--linger", "600") as server:
        url = announced_url(old, server.pid)
        old.rename(new)
        trainer.kill()
        wait_for(lambda: seen(url) == (10, "died"), "the death")
        wait_for(lambda: manifest(new)["status"] == "died", "the status")


def test_a_run_that_is_renamed_again_and_again_is_followed_and_no_name_is_left_behind(tmp_path: Path) -> None:
    run = tmp_path / "run0"
    trainer = Trainer(tmp_path, run.name)
    trainer.emit(10)
    trainer.end("finished")
    with relay(run, "--follow", "--linger", "600") as server:
        url = announced_url(run, server.pid)
        for number in range(1, 40):
            run = run.rename(tmp_path / f"run{number}")
            time.sleep(0.03)
            updates, _ = seen(url)
            assert updates == 10
        second = Trainer(tmp_path, run.name)
        second.emit(10)
        wait_for(lambda: seen(url) == (20, "running"), "the updates")
    assert [path.name for path in tmp_path.glob("run*")] == [run.name]


def test_a_run_whose_lock_was_removed_lives_on_and_dies_only_with_its_trainer(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = Trainer(tmp_path, "run")
    trainer.emit(10)
    with relay(run, "--follow", "--linger", "600") as server:
        url = announced_url(run, server.pid)
        (run / ".writer.rank0.lock").unlink()
        wait_for((run / ".writer.rank0.lock").exists, "the lock's return")
        trainer.emit(10)
        wait_for(lambda: seen(url) == (20, "running"), "the updates")
        trainer.suspend()  # it cannot take the lock again
        (run / ".writer.rank0.lock").unlink()
        trainer.kill()
        wait_for(lambda: seen(url) == (20, "died"), "the death", PATIENCE_S)


def test_a_suspended_trainer_whose_lock_was_removed_is_not_dead(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = Trainer(tmp_path, "run")
    trainer.emit(10)
    with relay(run, "--follow", "--linger", "600", "--stall-after", "17") as server:
        url = announced_url(run, server.pid)
        trainer.suspend()
        (run / ".writer.rank0.lock").unlink()
        wait_for(lambda: seen(url) == (10, "stalled"), "the stall, after the silence that proves a death", PATIENCE_S)
        trainer.resume()
        trainer.emit(10)
        wait_for(lambda: seen(url) == (20, "running"), "the updates")


def test_a_relay_whose_state_was_removed_keeps_it_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = Trainer(tmp_path, "run")
    trainer.emit(10)
    with relay(run, "--follow", "--linger", "600") as server:
        url = announced_url(run, server.pid)
        shutil.rmtree(run / "relay")
        trainer.emit(10)
        wait_for((run / "relay" / "metrics.json").exists, "the state's return")
        wait_for(lambda: seen(url) == (20, "running"), "the updates")
        with relay(run, "--follow", "--wait", "1") as second:
            assert second.wait(timeout=PATIENCE_S) == 2
        server.kill()
        server.communicate()
    with relay(run, "--follow", "--linger", "600") as third:
        url = announced_url(run, third.pid)
        wait_for(lambda: seen(url) == (20, "running"), "the updates, counted once")


def test_a_deleted_run_is_not_made_anew_by_its_relay(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = Trainer(tmp_path, "run")
    trainer.emit(10)
    with relay(run, "--follow", "--linger", "0", "--stall-after", "1") as server:
        announced_url(run, server.pid)
        trainer.kill()
        shutil.rmtree(run)
        assert server.wait(timeout=PATIENCE_S) == 0
    assert not run.exists()


def test_a_run_that_ended_well_on_a_full_disk_is_finished(tmp_path: Path) -> None:
    script = f"""
import esper_otel, resource
from esper_otel.events import PolicyUpdate
from tests.waiting import PATIENCE_S
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
esper_otel.configure(telemetry_dir={str(tmp_path)!r}, run_id="run", relay=False)
for number in range(1_000):
    esper_otel.emit(PolicyUpdate(ppo_update_idx=number))
esper_otel.shutdown()
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(), check=True, capture_output=True)
    run = tmp_path / "run"
    assert not [line for line in lines_of(run) if line["event_type"] == "RUN_ENDED"]
    with relay(run, "--follow", "--linger", "600") as server:
        url = announced_url(run, server.pid)
        wait_for(lambda: seen(url)[1] == "finished", "the end")

    (ended,) = [line["data"] for line in lines_of(run) if line["event_type"] == "RUN_ENDED"]
    assert (ended["outcome"], ended["reported_by"]) == ("finished", "relay")
