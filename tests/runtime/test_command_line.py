"""The console script as a shell uses it: output that nobody takes, and arguments without sense, end in one line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.diagnosis.made import run, training
from tests.tools import python_environment, tool

COMMANDS = {
    "help": ["--help"],
    "version": ["--version"],
    "list": ["runs", "."],
    "diagnosis": ["diagnose", "run"],
    "query": ["sql", "run", "SELECT * FROM raw_events"],
    "views": ["views"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    run(directory / "run", training())
    return directory


def asked(runs: Path, arguments: list[str], output: int, **variables: str) -> tuple[int, str]:
    command = [tool("esper-otel"), *arguments]
    found = subprocess.run(
        command, env=python_environment(**variables), cwd=runs, stdout=output, stderr=subprocess.PIPE, text=True
    )
    return found.returncode, found.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("name", COMMANDS)
def test_output_that_a_full_disk_refuses_is_an_error_in_one_line(name: str, unbuffered: str, runs: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        status, said = asked(runs, COMMANDS[name], full.fileno(), PYTHONUNBUFFERED=unbuffered)

    assert status == 2
    assert "No space left on device" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_has_enough_ends_a_command_without_a_word(name: str, runs: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert asked(runs, COMMANDS[name], write) == (1, "")
    finally:
        os.close(write)


@pytest.mark.parametrize("command", ["diagnose", "goodput", "report", "compare", "runs", "doctor", "relay"])
def test_an_empty_argument_is_refused_and_not_taken_for_this_directory(command: str, runs: Path) -> None:
    status, said = asked(runs, [command, ""], subprocess.DEVNULL)

    assert status == 2
    assert "an argument is empty" in said


@pytest.mark.parametrize("side", ["run,", ",run", "run,,run"])
def test_a_comma_without_a_run_beside_it_is_refused(side: str, runs: Path) -> None:
    status, said = asked(runs, ["compare", "run", side], subprocess.DEVNULL)

    assert status == 2
    assert "comma" in said


@pytest.mark.parametrize("span", ["99999999999d", "999999d", "9" * 400 + "s"])
def test_a_span_longer_than_any_run_is_all_of_it(span: str, runs: Path) -> None:
    status, said = asked(runs, ["diagnose", "run", "--since", span], subprocess.DEVNULL)

    assert (status, said) == (0, "")


@pytest.mark.parametrize("command", ["report", "trace"])
@pytest.mark.parametrize("place", ["run", "absent/page"])
def test_a_file_that_cannot_be_written_is_named_as_it_was_given(place: str, command: str, runs: Path) -> None:
    status, said = asked(runs, [command, "run", "-o", place], subprocess.DEVNULL)

    assert status == 2
    assert f"'{place}'" in said
    assert ".new" not in said
