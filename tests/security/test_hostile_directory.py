"""A telemetry directory that somebody else filled: links, pipes, devices, and files that are not what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import esper_otel
from esper_otel.cli import app
from esper_otel.log import manifest
from esper_otel.log.envelope import BadLine, Reason
from esper_otel.log.reader import LogReader
from esper_otel.relay.checkpoint import StateDirectory
from esper_otel.relay.prometheus import targets
from esper_otel.runs.places import MANIFEST
from esper_otel.sql.staging import parts
from tests.relay.processes import relay
from tests.security.logs import DEEP, ended_run, line
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

PRECIOUS = "export PATH\n"
TARGET = targets.target_of("127.0.0.1", 1, job="esper", instance="run", run="run")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file that no run has anything to do with."""
    path = tmp_path / "profile"
    path.write_text(PRECIOUS)
    return path


@pytest.mark.parametrize(
    "names", [["events.jsonl"], ["run.json", ".writer.rank0.lock", ".run.json.lock", "relay/lock"]], ids=["log", "rest"]
)
def test_a_relay_does_not_write_through_a_link(tmp_path: Path, precious: Path, names: list[str]) -> None:
    run = ended_run(tmp_path / "telemetry" / "run")
    (run / ".writer.rank0.lock").touch()  # a run whose process is gone: the relay says so in its log
    (run / "events.jsonl").write_bytes(line(run_id="$(reboot)", rank=0))
    for name in names:
        link = run / name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(precious)
    with relay(run, "--follow", "--linger", "0", "--idle-exit", "1.5") as server:
        server.communicate(timeout=PATIENCE_S)

    assert PRECIOUS == precious.read_text()


def test_a_relay_does_not_keep_its_state_behind_a_link(tmp_path: Path) -> None:
    run = ended_run(tmp_path / "telemetry" / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run / "relay").symlink_to(elsewhere)
    with relay(run) as server:
        _, said = server.communicate(timeout=PATIENCE_S)

    assert 2 == server.returncode
    assert f"is a symbolic link, which is not followed for writing; remove it: '{run / 'relay'}'" in said
    assert [] == list(elsewhere.iterdir())


def test_the_lock_of_the_targets_file_does_not_empty_what_it_links_to(tmp_path: Path, precious: Path) -> None:
    (tmp_path / ".prometheus_targets.json.lock").symlink_to(precious)

    with pytest.raises(OSError, match="symbolic link"):
        targets.withdraw(tmp_path, TARGET)
    assert PRECIOUS == precious.read_text()


def test_a_draft_that_was_put_there_as_a_link_is_replaced(tmp_path: Path, precious: Path) -> None:
    (tmp_path / f".run.json.{os.getpid()}.new").symlink_to(precious)
    manifest.update(tmp_path, run_id="run")

    assert PRECIOUS == precious.read_text()
    assert {"run_id": "run"} == manifest.read(tmp_path)


def test_a_trainer_does_not_append_to_what_its_log_links_to(
    tmp_path: Path, precious: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.jsonl").symlink_to(precious)
    esper_otel.configure(telemetry_dir=tmp_path, run_id="run", relay=False)
    esper_otel.shutdown(timeout_s=0.3)

    assert PRECIOUS == precious.read_text()
    assert "it is a symbolic link, which the log does not follow; remove it" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["report", "backfill"])
def test_the_draft_of_what_a_command_writes_does_not_go_through_a_link(
    tmp_path: Path, precious: Path, command: str
) -> None:
    run, out = ended_run(tmp_path / "run"), tmp_path / "out"
    (tmp_path / f".out.{os.getpid()}.new").symlink_to(precious)
    done = CliRunner().invoke(app, [command, str(run), "-o", str(out)])

    assert 0 == done.exit_code, done.output
    assert out.stat().st_size > 0
    assert PRECIOUS == precious.read_text()


@pytest.mark.parametrize(
    "run_id", ["..", "../other", "/etc/run", ".hidden", "a/b", "a\nb", "a" * 129, "a\0b", "\u2044"]
)
def test_a_run_id_does_not_lead_out_of_the_telemetry_directory(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(ValueError, match="run_id must be"):
        esper_otel.configure(telemetry_dir=tmp_path, run_id=run_id, relay=False)


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()],
    ids=["pipe", "device", "directory"],
)
def test_a_log_that_is_no_file_is_neither_waited_for_nor_read_for_ever(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "events.jsonl")
    with LogReader(tmp_path) as reader:
        (found,) = reader.read()

    assert isinstance(found, BadLine)
    assert Reason.UNREADABLE is found.reason


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_a_manifest_that_is_no_file_is_an_error(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "run.json")

    with pytest.raises(OSError, match="is not a regular file"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("text", [DEEP, '{"a": ' + DEEP + "}", '{"a": ' + "9" * 5000 + "}", "{\0}", "\udcff"])
def test_a_manifest_that_no_reader_can_take_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(ValueError, match=r"run\.json is not JSON"):
        manifest.read(tmp_path)


def test_a_manifest_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(OSError, match=f"longer than {manifest.MAX_BYTES} bytes"):
        manifest.read(tmp_path)


def test_targets_and_state_that_nest_too_deep_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    (tmp_path / "prometheus_targets.json").write_text('[{"targets": [], "labels": {}, "more": ' + DEEP + "}]")
    (tmp_path / "metrics.json").write_text('{"version": 1, "state": ' + DEEP + "}")
    targets.announce(tmp_path, TARGET)
    state = StateDirectory(tmp_path)

    [entry] = json.loads((tmp_path / "prometheus_targets.json").read_text())
    assert ["127.0.0.1:1"] == entry["targets"]
    assert state.load("metrics") is None
    state.close()


@pytest.mark.parametrize(
    "name",
    ["/etc/x.000001.parquet", "../x.000001.parquet", "a/b.000001.parquet", "heartbeat.rows", "x'.000001.parquet"],
)
def test_a_parquet_manifest_does_not_lead_to_files_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"fingerprint": "", "files": {"heartbeat": [name]}}))

    with pytest.raises(ValueError, match="which 'esper-otel compact' never writes"):
        parts.load(tmp_path)


def test_a_parquet_manifest_that_is_no_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST)

    with pytest.raises(OSError, match="is not a regular file"):
        parts.load(tmp_path)


@pytest.mark.parametrize("group_id", ["../../x", "a/b", "", "A\n", "x" * 65])
def test_a_checkpoint_does_not_name_files_elsewhere(tmp_path: Path, group_id: str) -> None:
    from trainer.simic.archive import CheckpointError
    from trainer.simic.checkpoint import INDEX, find

    arm = {"group_id": group_id, "recipe": {}}
    (tmp_path / INDEX).write_text(json.dumps({"format": 1, "rounds_done": 0, "world_size": 1, "arms": [arm]}))

    with pytest.raises(CheckpointError, match=r"group_id"):
        find(tmp_path)


def test_a_checkpoint_cannot_bring_code(tmp_path: Path) -> None:
    import numpy as np

    from trainer.simic.archive import CheckpointError, load_arm

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "rank0.npz", numbers=np.array([Payload()], dtype=object))

    with pytest.raises(CheckpointError, match="allow_pickle"):
        load_arm(tmp_path / "rank0.npz", None)  # type: ignore[arg-type]  # refused before anything is restored
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "command", [("-m", "esper_otel.sql.staging.helper"), ("-m", "esper_otel.relay", "nowhere")], ids=["helper", "relay"]
)
def test_modules_beside_a_log_are_not_imported(tmp_path: Path, command: tuple[str, ...]) -> None:
    from esper_otel.runtime import launch
    from esper_otel.sql.staging import workers

    (tmp_path / "msgspec.py").write_text("open('ran', 'w').close()\n")
    started = subprocess.run(
        [sys.executable, "-P", *command],
        cwd=tmp_path,
        env=python_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )

    assert started.returncode in {0, 2}
    assert not (tmp_path / "ran").exists()
    for module in (launch, workers):
        assert ', "-P", "-m", ' in Path(str(module.__file__)).read_text()
