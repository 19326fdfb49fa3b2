"""Recorders made from the declarations: the meaning of ``emit(Event(…))`` on both roads, in C and in Python."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

import esper_otel
from esper_otel.events import Decision, Event, PolicyUpdate, Severity, UpdateSkipped
from esper_otel.events.declare import CUSTOM_TYPES, Domain, counter, declares, note
from esper_otel.native import core, state
from esper_otel.testing import record_events
from tests.killing import due_when_killed
from tests.log.native_queue import built
from tests.runtime.runs import environment, lines_of, losses_of, script, types_of

ROADS = [pytest.param("1", marks=built, id="in C"), pytest.param("0", id="in Python")]


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both roads in turn."""
    if request.param == "0":
        monkeypatch.setattr("esper_otel.log.writing.queue.core", lambda: None)
        monkeypatch.setattr("esper_otel.runtime.recording.core", lambda: None)
    return str(request.param)


def configured(directory: Path, **options: Any) -> Path:
    return esper_otel.configure(telemetry_dir=directory, run_id="r", heartbeat_s=0, **options).run_dir


def data_of(run: Path, event_type: str = "TAMIYO_DECISION") -> list[dict[str, Any]]:
    return [line["data"] for line in lines_of(run) if line["event_type"] == event_type]


@pytest.mark.usefixtures("road")
def test_a_recorder_writes_what_emit_writes(tmp_path: Path) -> None:
    run, record = configured(tmp_path, group_id="A"), esper_otel.recorder(Decision)
    for number in range(50):
        record(env_id=number, slot_id="r0c1", inner_epoch=number, total_reward=0.5, head_confidence={"op": 0.25})
        esper_otel.emit(
            Decision(env_id=number, slot_id="r0c1", inner_epoch=number, total_reward=0.5, head_confidence={"op": 0.25})
        )
    esper_otel.shutdown()

    lines = lines_of(run)[:-1]
    assert [*range(1, 101)] == [line["seq"] for line in lines]
    varying = ("event_id", "seq", "timestamp")
    kept = [json.dumps({name: value for name, value in line.items() if name not in varying}) for line in lines]
    assert kept[0::2] == kept[1::2]
    assert sorted(line["timestamp"] for line in lines) == [line["timestamp"] for line in lines]


@pytest.mark.usefixtures("road")
def test_a_recorder_refuses_what_the_class_refuses(tmp_path: Path) -> None:
    configured(tmp_path)
    record: Callable[..., None] = esper_otel.recorder(UpdateSkipped)
    for _ in range(2):
        record(reason="amp_overflow")
        with pytest.raises(TypeError, match="Unexpected keyword argument 'loss_of_all'"):
            record(reason="amp_overflow", loss_of_all=1.0)
        with pytest.raises(TypeError, match="Missing required argument 'reason'"):
            record(batch=1)
        with pytest.raises(TypeError, match="Extra positional arguments"):
            record("amp_overflow")


@pytest.mark.parametrize("odd", [dict, Event(), "TAMIYO_DECISION", None])
def test_what_is_no_class_of_events_has_no_recorder(odd: Any) -> None:
    with pytest.raises(TypeError, match="takes a class of events, such as"):
        esper_otel.recorder(odd)
    with pytest.raises(ValueError, match="loud"):
        esper_otel.recorder(Decision, severity="loud")  # type: ignore[arg-type]


@pytest.mark.usefixtures("road")
def test_a_recorder_made_before_the_run_records_into_each_run_and_between_them_nowhere(tmp_path: Path) -> None:
    record = esper_otel.recorder(Decision)
    runs = []
    record(env_id=0)
    for number in (1, 2):
        esper_otel.configure(telemetry_dir=tmp_path, run_id=f"r{number}", heartbeat_s=0)
        for _ in range(3):
            record(env_id=number)
        esper_otel.shutdown()
        record(env_id=0)
        runs.append(tmp_path / f"r{number}")

    assert [[{"env_id": 1}] * 3, [{"env_id": 2}] * 3] == [data_of(run) for run in runs]


@pytest.mark.usefixtures("road")
def test_a_recorder_has_its_own_group_and_severity(tmp_path: Path) -> None:
    run = configured(tmp_path, group_id="usual")
    usual, other = esper_otel.recorder(Decision), esper_otel.recorder(Decision, group_id="B", severity=Severity.WARNING)
    for _ in range(3):
        usual(env_id=1)
        other(env_id=2)
    esper_otel.shutdown()

    kinds = [(line["group_id"], line["severity"], line["data"]["env_id"]) for line in lines_of(run)[:-1]]
    assert [("usual", "debug", 1), ("B", "warning", 2)] * 3 == kinds


@pytest.mark.usefixtures("road")
def test_a_group_that_is_no_valid_text_does_not_raise_into_training(tmp_path: Path) -> None:
    run, record = configured(tmp_path), esper_otel.recorder(Decision, group_id="\ud800")
    for _ in range(3):
        record(env_id=1)
    esper_otel.shutdown()

    assert ["\ufffd"] * 3 == [line["group_id"] for line in lines_of(run)[:-1]]


@pytest.mark.usefixtures("road")
def test_an_event_of_ones_own_is_declared_before_it_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CUSTOM_TYPES, "MY_SHOT", Event)  # and taken out again afterwards

    @declares("MY_SHOT", domain=Domain.SIMIC, metrics=(counter("simic.shots", unit="{shot}", description="Shots."),))
    class Shot(Event, frozen=True, kw_only=True):
        power: Annotated[float | None, note("Power, 0 to 1.")] = None

    run, record = configured(tmp_path), esper_otel.recorder(Shot)
    for number in range(20):
        record(power=number / 20)
        time.sleep(0.005)  # the encoder writes the declaration meanwhile
    esper_otel.shutdown()

    assert ["EVENT_DECLARED", *["MY_SHOT"] * 20, "RUN_ENDED"] == [line["event_type"] for line in lines_of(run)]
    assert [number / 20 for number in range(20)] == [data["power"] for data in data_of(run, "MY_SHOT")]


def test_old_names_are_written_for_what_a_recorder_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPER_OTEL_STABILITY_OPT_IN", "legacy")
    run, record = configured(tmp_path), esper_otel.recorder(PolicyUpdate)
    for _ in range(3):
        record(policy_loss=0.5)
    esper_otel.shutdown()

    assert 3 == types_of(run)["PPO_UPDATE_COMPLETED"]


def test_a_run_in_memory_takes_what_a_recorder_records() -> None:
    record = esper_otel.recorder(PolicyUpdate)
    with record_events() as run:
        record(policy_loss=0.5)
        record(policy_loss=0.25)

    assert [0.5, 0.25] == [update.policy_loss for update in run.of(PolicyUpdate)]


@pytest.mark.usefixtures("road")
def test_threads_record_and_emit_at_once_and_nothing_is_lost_or_out_of_order(tmp_path: Path) -> None:
    run, record = configured(tmp_path), esper_otel.recorder(Decision)

    def work(thread: int) -> None:
        for number in range(2000):
            if number % 5:
                record(env_id=thread, episode_idx=number, slot_id=f"r{number}")
            else:
                esper_otel.emit(Decision(env_id=thread, episode_idx=number))

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    esper_otel.shutdown(timeout_s=60)

    assert [*range(1, 8002)] == [line["seq"] for line in lines_of(run)]
    of_thread = [[data["episode_idx"] for data in data_of(run) if data["env_id"] == number] for number in range(4)]
    assert [[*range(2000)]] * 4 == of_thread


@pytest.mark.usefixtures("road")
def test_what_does_not_fit_is_counted_and_the_end_writes_what_waits(tmp_path: Path) -> None:
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, run_id="r", heartbeat_s=0, buffer_bytes=4096)
    run, record = telemetry.run_dir, esper_otel.recorder(Decision)
    for number in range(20_000):
        record(env_id=number)
    esper_otel.shutdown(timeout_s=60)

    written = [data["env_id"] for data in data_of(run)]
    assert 20_000 == len(written) + telemetry.counters.get("dropped.buffer_full", 0)
    assert sorted(written) == written
    assert 20_000 - len(written) == sum(line["data"]["count"] for line in lines_of(run) if "LOSS" in line["event_type"])


@pytest.mark.parametrize("native", ["1", "0"])
def test_a_forked_child_records_nothing_and_its_parent_says_how_much(tmp_path: Path, native: str) -> None:
    body = """
run = esper_otel.configure(run_id="main", heartbeat_s=0)
record = esper_otel.recorder(Decision)
for number in range(5):
    record(env_id=number)
if os.fork() == 0:
    for number in range(7):
        record(env_id=100 + number)
    os._exit(0)
os.wait()
record(env_id=5)
esper_otel.shutdown()
"""
    done = script(tmp_path, body, ESPER_OTEL_RELAY="0", ESPER_OTEL_NATIVE=native)

    run = tmp_path / "telemetry" / "main"
    assert [*range(6)] == [data["env_id"] for data in data_of(run)], done.stderr
    assert {"child_process": 7} == dict(losses_of(run))


CHILD = """
record = esper_otel.recorder(Decision)
esper_otel.configure(run_id="r", heartbeat_s=0, segment_bytes=200_000)
n = 0
while True:
    for _ in range(10):
        n += 1
        record(env_id=n, total_reward=0.5)
    os.write(1, b"%d %.6f\\n" % (n, time.monotonic()))
    time.sleep(0.002)
"""


@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("seed", range(3))
def test_kill_9_keeps_every_recorded_event_older_than_50_ms(tmp_path: Path, native: str, seed: int) -> None:
    path = tmp_path / "script.py"
    path.write_text(f"import os, time\nimport esper_otel\nfrom esper_otel.events import Decision\n{CHILD}")
    variables = environment(tmp_path, ESPER_OTEL_RELAY="0", ESPER_OTEL_NATIVE=native)
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, env=variables) as process:
        due = due_when_killed(process, random.Random(seed).uniform(0.1, 0.6))

    lines = b"".join(part.read_bytes() for part in sorted((tmp_path / "telemetry" / "r").glob("events*.jsonl")))
    kept = sorted(json.loads(line)["seq"] for line in lines.split(b"\n")[:-1])
    assert [*range(1, len(kept) + 1)] == kept
    assert len(kept) >= max(due, default=0) > 0


def test_the_manifest_says_which_road_is_in_use(tmp_path: Path) -> None:
    run = configured(tmp_path)
    esper_otel.shutdown()

    assert state() == json.loads((run / "run.json").read_text())["recording"]


@pytest.mark.skipif("CI" not in os.environ, reason="a machine without a compiler records in Python")
def test_the_part_in_c_is_built_where_ci_runs() -> None:
    assert core() is not None, state()
