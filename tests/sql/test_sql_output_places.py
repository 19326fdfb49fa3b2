"""Places that answers go to: pipes that close early, terminals without width, encodings without the characters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.log.test_odd_files import recorded
from tests.log.test_reader import run

__all__ = ["run"]

ESPER_OTEL: Final = Path(sys.executable).with_name("esper-otel")


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_a_reader_that_has_enough_ends_the_command_without_a_word(run: Path, form: str) -> None:
    recorded(run)
    query = "SELECT range, repeat('x', 80) AS text FROM range(50000)"
    command = [ESPER_OTEL, "sql", run, query, "--format", form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        asked.stdout.readline()
        asked.stdout.close()
        said = asked.stderr.read()

    assert ("", 1) == (said, asked.returncode)


@pytest.mark.parametrize("columns", ["0", "", " ", "00", "abc"])
def test_a_table_is_printed_where_the_width_is_unknown(run: Path, columns: str) -> None:
    recorded(run)
    environment = {**os.environ, "COLUMNS": columns}
    command = [ESPER_OTEL, "sql", run, "SELECT 4711 AS answer"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)

    assert ["answer", "4711"] == [done.stdout.split()[0], done.stdout.split()[-1]]


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_characters_that_an_encoding_lacks_are_shown_by_their_code_points(run: Path, form: str) -> None:
    recorded(run)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [ESPER_OTEL, "sql", run, "SELECT 'a' || chr(28450) AS text", "--format", form]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)

    assert "a\\u6f22" in done.stdout
    assert form != "json" or [{"text": "a漢"}] == json.loads(done.stdout)
