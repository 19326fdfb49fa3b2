"""The unit file of the page: systemd takes it, and the signals that it makes systemd send lose nothing."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay.processes import manifest
from tests.runtime.runs import environment, is_alive, kill, lines_of, types_of
from tests.tools import ROOT, do_without
from tests.waiting import PATIENCE_S, wait_for

PAGE = (ROOT / "docs" / "guides" / "where-it-runs.md").read_text(encoding="utf-8")
UNIT = re.search(r"## systemd unit\n.*?```ini\n(.*?)```", PAGE, re.DOTALL)
HANDLER = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
TRAIN = """
import signal, sys, time
import esper_otel
from esper_otel.events import PolicyUpdate
{handler}esper_otel.configure(run_id="r")
number = 0
try:
    while True:
        number += 1
        esper_otel.emit(PolicyUpdate(ppo_update_idx=number))
        time.sleep(0.005)
finally:
    esper_otel.emit(PolicyUpdate(ppo_update_idx=-1))
"""


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    assert UNIT is not None
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parsed.read_string(UNIT[1])
    return parsed


@contextmanager
def trained(directory: Path, receiver: OtlpReceiver, handler: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A trainer with the settings of the unit, and its relay, that have recorded and delivered something."""
    (directory / "train.py").write_text(TRAIN.format(handler=handler))
    variables = environment(
        directory, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint, ESPER_OTEL_SHUTDOWN_WAIT="60"
    )
    process = subprocess.Popen([sys.executable, "train.py"], cwd=directory, env=variables, stderr=subprocess.DEVNULL)
    run = directory / "telemetry" / "r"
    try:
        wait_for(lambda: receiver.logs, "the first events at the receiver")
        yield process
    finally:
        process.kill()
        process.wait()
        kill((manifest(run).get("relay") or {}).get("pid"))


def relay_of(directory: Path) -> int:
    return int(manifest(directory / "telemetry" / "r")["relay"]["pid"])


def delivered(receiver: OtlpReceiver) -> Counter[str]:
    return Counter(str(attributes(log)["esper.event.id"]) for log in receiver.logs)


def logged(directory: Path) -> dict[str, int]:
    return dict.fromkeys((line["event_id"] for line in lines_of(directory / "telemetry" / "r")), 1)


def test_systemd_takes_the_unit_without_a_complaint(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        do_without("systemd-analyze is not installed: it comes with Debian's package systemd")
    assert UNIT is not None
    text = re.sub(r"^ExecStart=\S+ \S+$", f"ExecStart={sys.executable} /train.py", UNIT[1], flags=re.MULTILINE)
    (tmp_path / "train@.service").write_text(text.replace("User=train", "User=root"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(tmp_path / "train@.service")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert (0, "") == (checked.returncode, checked.stderr)


def test_systemd_waits_longer_for_the_trainer_than_the_trainer_for_delivery(unit: configparser.ConfigParser) -> None:
    assert UNIT is not None
    (waits,) = re.findall(r"ESPER_OTEL_SHUTDOWN_WAIT=(\d+)", UNIT[1])

    assert int(unit["Service"]["TimeoutStopSec"]) > int(waits)


def test_the_telemetry_directory_is_inside_of_the_only_directory_that_can_be_written(
    unit: configparser.ConfigParser,
) -> None:
    assert UNIT is not None
    service = unit["Service"]
    (telemetry,) = re.findall(r"ESPER_OTEL_TELEMETRY_DIR=(\S+)", UNIT[1])

    assert ("strict", "read-only") == (service["ProtectSystem"], service["ProtectHome"])
    assert telemetry.startswith(f"%S/{service['StateDirectory']}/")
    assert not {"ReadWritePaths", "PrivateDevices", "MemoryDenyWriteExecute"} & set(service)


def test_the_stop_of_the_unit_loses_nothing(tmp_path: Path, unit: configparser.ConfigParser) -> None:
    """``KillMode=mixed``: the signal to the main process alone; SIGKILL to the rest once that has ended."""
    assert unit["Service"]["KillMode"] == "mixed"
    with OtlpReceiver() as receiver, trained(tmp_path, receiver) as trainer:
        trainer.send_signal(signal.Signals[unit["Service"]["KillSignal"]])
        trainer.wait(PATIENCE_S)
        kill(relay_of(tmp_path))

        assert logged(tmp_path) == delivered(receiver)
    ends = [line["data"]["outcome"] for line in lines_of(tmp_path / "telemetry" / "r") if "outcome" in line["data"]]
    assert ends == ["interrupted"]


@pytest.mark.parametrize("handler", ["", HANDLER], ids=["without a handler", "with a handler"])
def test_a_signal_to_trainer_and_relay_at_once_loses_nothing(tmp_path: Path, handler: str) -> None:
    """``KillMode=control-group``, the default, with SIGTERM; what is left in the log the next relay delivers."""
    with OtlpReceiver() as receiver, trained(tmp_path, receiver, handler) as trainer:
        relay = relay_of(tmp_path)
        for pid in (trainer.pid, relay):
            os.kill(pid, signal.SIGTERM)
        trainer.wait(PATIENCE_S)
        wait_for(lambda: not is_alive(relay), "the end of the relay")
        next_relay = subprocess.run(
            [sys.executable, "-m", "esper_otel.relay", str(tmp_path / "telemetry" / "r"), "--linger", "0"],
            env=environment(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint),
            capture_output=True,
            timeout=PATIENCE_S,
        )

        assert next_relay.returncode == 0
        assert logged(tmp_path) == delivered(receiver)
    numbers = [
        line["data"]["ppo_update_idx"]
        for line in lines_of(tmp_path / "telemetry" / "r")
        if "ppo_update_idx" in line["data"]
    ]
    emitted = numbers[:-1] if handler else numbers
    assert emitted == list(range(1, len(emitted) + 1))
    assert types_of(tmp_path / "telemetry" / "r")["TELEMETRY_LOSS"] == 0
    assert not handler or numbers[-1] == -1
