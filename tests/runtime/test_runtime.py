"""configure(), emit(), shutdown(): a run from its beginning to each of its ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import esper_otel
from esper_otel.events import Decision, PolicyUpdate, Severity
from esper_otel.log import manifest
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.locks.lock import LockHeldError
from esper_otel.log.reader import LogReader
from tests.waiting import PATIENCE_S, own_time_s


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
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={**os.environ, **env},
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

    first, end, *session = [item for item in read(tmp_path / "r") if isinstance(item, Record)]
    assert [1, 2] == [first.seq, end.seq]
    begun = session[0].seq
    assert begun is not None
    assert begun > 2  # from the time of day, so that no number that was lost is given again
    assert [begun, begun + 1, begun + 2] == [record.seq for record in session]


def test_a_run_that_goes_on_says_so_before_its_first_event(tmp_path: Path) -> None:
    for _ in range(2):
        esper_otel.configure(telemetry_dir=tmp_path, run_id="r")
        esper_otel.shutdown()

    types = [item.event_type for item in read(tmp_path / "r") if isinstance(item, Record)]
    assert types == ["RUN_ENDED", "HEARTBEAT", "RUN_ENDED"]


@pytest.mark.parametrize(
    ("body", "outcome", "detail"),
    [
        ("", "interrupted", "the process ended without calling shutdown()"),
        ("sys.exit()", "interrupted", "the process ended without calling shutdown()"),
        ("sys.exit(3)", "failed", "SystemExit: 3"),
        ("raise SystemExit(3)", "interrupted", "the program ended by SystemExit; its status is not known"),
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
    monkeypatch.setattr("esper_otel.log.writing.append.os.write", lambda fd, data: time.sleep(3) or len(data))
    esper_otel.emit(Decision(env_id=1))
    started = own_time_s()
    esper_otel.shutdown(timeout_s=0.5)

    assert own_time_s() - started < 1.5


def test_a_forked_child_that_ends_regularly_does_not_end_the_run(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        "if os.fork() == 0: sys.exit(0)\nos.wait(); esper_otel.emit(Decision(env_id=2)); esper_otel.shutdown()",
    )

    assert 0 == done.returncode, done.stderr
    assert ["TAMIYO_DECISION", "TAMIYO_DECISION", "RUN_ENDED"] == types(tmp_path / "r")


def test_old_and_new_names_are_written_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPER_OTEL_STABILITY_OPT_IN", "domains/dup")
    telemetry = esper_otel.configure(telemetry_dir=tmp_path)
    esper_otel.emit(PolicyUpdate(policy_loss=0.5))
    esper_otel.shutdown()

    found = [(item.event_type, item.seq) for item in read(telemetry.run_dir) if isinstance(item, Record)]
    assert [("TAMIYO_POLICY_UPDATE", 1), ("PPO_UPDATE_COMPLETED", 1), ("RUN_ENDED", 2)] == found


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
    names = ["Telemetry", "autolog", "configure", "emit", "recorder", "should_stop", "shutdown"]
    assert names == sorted(esper_otel.__all__)


@pytest.mark.parametrize("change", ["sys.argv[1:] = [Path('a'), 1, None, b'x']", "sys.argv.clear()", "del sys.argv"])
def test_a_command_line_of_any_kind_does_not_stop_training(tmp_path: Path, change: str) -> None:
    code = f"""
import sys
from pathlib import Path
{change}
import esper_otel
from esper_otel.events import Decision
esper_otel.configure(telemetry_dir={str(tmp_path)!r}, run_id="r", relay=False)
esper_otel.emit(Decision(env_id=1))
esper_otel.shutdown()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)

    assert (0, "") == (done.returncode, done.stderr)
    assert isinstance(manifest.read(tmp_path / "r")["argv"], list)
    assert ["TAMIYO_DECISION", "RUN_ENDED"] == types(tmp_path / "r")


def test_what_fails_beside_the_log_is_reported_and_training_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An installation whose description of a package is damaged."""

    def refuse(_: str) -> str:
        raise KeyError("no version")

    monkeypatch.setattr("importlib.metadata.version", refuse)
    esper_otel.configure(telemetry_dir=tmp_path, run_id="r", relay=False)
    esper_otel.emit(Decision(env_id=1))
    esper_otel.shutdown()

    assert "KeyError: 'no version'" in capfd.readouterr().err
    assert "TAMIYO_DECISION" in types(tmp_path / "r")


def test_a_standard_error_that_is_broken_costs_no_message(tmp_path: Path) -> None:
    body = """
class Broken:
    def write(self, text): raise AttributeError("write")
    flush = close = write
sys.stderr = Broken()
esper_otel.emit("no event")
esper_otel.shutdown()
sys.stderr = sys.__stderr__
"""
    assert "str is not an event" in script(tmp_path, body).stderr
