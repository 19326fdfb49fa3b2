"""The page for beginners: its loop trains, and its commands answer for the run that the loop leaves."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import ROOT, python_environment

PAGE = (ROOT / "docs" / "start" / "getting-started.md").read_text(encoding="utf-8")
LOOP, OWN_NUMBERS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    \$ (esper-otel .*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("beginner")
    (directory / "train.py").write_text(LOOP, encoding="utf-8")
    # One thread: on a machine that is busy torch's threads wait for each other most of the time.
    environment = python_environment(OMP_NUM_THREADS="1", OTEL_EXPORTER_PROMETHEUS_PORT="0", ESPER_OTEL_LINGER="0")
    subprocess.run([sys.executable, "train.py"], cwd=directory, env=environment, check=True)
    return directory


def test_ten_lines_of_the_loop_are_telemetry() -> None:
    assert re.findall(r"# (\d+)$", LOOP, re.MULTILINE) == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_answers(command: str, trained: Path) -> None:
    program, *arguments = shlex.split(command)
    found = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=trained,
        env=python_environment(),
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.strip()


def test_the_page_has_the_commands_that_it_promises() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"doctor", "sql", "report"}


def test_the_events_of_the_last_example_can_be_built() -> None:
    built: list[object] = []
    code = OWN_NUMBERS.replace("esper_otel.emit(", "built.append(")
    code = re.sub(r"^norm = .*$", "norm = torch.tensor(3.2)", code, flags=re.MULTILINE)
    exec(code, {"torch": __import__("torch"), "built": built})
    assert [type(event).__name__ for event in built] == ["EpochCompleted", "PolicyUpdate"]
