"""The line that ``esper-otel run`` prints for its user."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.automatic.program_runs import BIN, environment
from tests.waiting import PATIENCE_S, wait_for

LINE = re.compile(r"esper-otel: this run is in (\S+?)(?:, its metrics at (\S+))?\. Draw it: esper-otel report \1")
PROGRAM = """
import sys, torch
torch.set_num_threads(1)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
print("training begins", flush=True)
while True:
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    if sys.argv[1:] == ["once"] or sys.stdin.readline() == "":
        break
"""


@contextmanager
def running(directory: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    directory.mkdir(exist_ok=True)
    script = directory / "train.py"
    script.write_text(textwrap.dedent(PROGRAM))
    command = [str(BIN / "esper-otel"), "run", str(script), *arguments]
    variables = environment(directory, **{"ESPER_OTEL_LINGER": "0", **variables})
    with (
        (directory / "out").open("w") as out,
        (directory / "err").open("w") as err,
        subprocess.Popen(
            command, env=variables, cwd=directory, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True
        ) as process,
    ):
        yield process


def step(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def lines(directory: Path) -> list[str]:
    return (directory / "err").read_text().splitlines()


def announced(directory: Path) -> tuple[str, str | None]:
    (line,) = wait_for(lambda: lines(directory), "the line")
    found = LINE.fullmatch(line)
    assert found is not None, line
    return found[1], found[2]


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def test_each_of_two_programs_says_where_its_own_run_and_its_own_metrics_are(tmp_path: Path) -> None:
    directories = [tmp_path / "one", tmp_path / "two"]
    with (
        running(directories[0], ESPER_OTEL_RELAY="1") as one,
        running(directories[1], ESPER_OTEL_RELAY="1") as two,
    ):
        step(one)
        found = [announced(directory) for directory in directories]
        urls = [url for _, url in found if url is not None]
        assert len(set(urls)) == 2
        for directory, (run, url), process in zip(directories, found, (one, two), strict=True):
            assert Path(run).parent == directory / "telemetry"
            assert url is not None
            step(process)
            wait_for(lambda url=url: "tolaria_updates_total" in scraped(url), "the updates in the metrics")
            assert Path(run).name in scraped(url)
    for directory in directories:
        assert (directory / "out").read_text() == "training begins\n"
        assert len(lines(directory)) == 1


def test_a_program_that_is_over_before_its_relay_serves_says_where_the_run_is_once(tmp_path: Path) -> None:
    with running(tmp_path, "once"):
        pass
    run, url = announced(tmp_path)

    assert (Path(run) / "events.jsonl").exists()
    assert url is None


def test_a_program_says_nowhere_is_its_run_that_another_process_writes(tmp_path: Path) -> None:
    with running(tmp_path / "one", ESPER_OTEL_RUN_ID="run", ESPER_OTEL_TELEMETRY_DIR=str(tmp_path)) as one:
        step(one)
        wait_for((tmp_path / "run" / "events.jsonl").exists, "the run of the first program")
        with running(tmp_path / "two", "once", ESPER_OTEL_RUN_ID="run", ESPER_OTEL_TELEMETRY_DIR=str(tmp_path)):
            pass
    refused, own = ("\n".join(lines(tmp_path / name)) for name in ("two", "one"))

    assert "run run is not recorded" in refused
    assert "this run is in" not in refused
    assert "this run is in" in own


def test_a_program_that_continues_a_run_names_the_metrics_of_the_relay_that_is_still_there(tmp_path: Path) -> None:
    shared = {"ESPER_OTEL_RUN_ID": "run", "ESPER_OTEL_RELAY": "1", "ESPER_OTEL_TELEMETRY_DIR": str(tmp_path)}
    with running(tmp_path / "one", **shared, ESPER_OTEL_LINGER="60") as one:
        step(one)
        _, first = announced(tmp_path / "one")
    with running(tmp_path / "two", **shared) as two:
        step(two)
        _, second = announced(tmp_path / "two")
        assert first is not None
        assert second == first


def test_a_variable_keeps_the_line_away(tmp_path: Path) -> None:
    with running(tmp_path, "once", ESPER_OTEL_ANNOUNCE="0"):
        pass
    assert lines(tmp_path) == []
    assert (tmp_path / "telemetry" / "latest" / "events.jsonl").exists()


@pytest.mark.parametrize(("announce", "count"), [("0", 0), ("1", 1)])
def test_autolog_prints_nothing_unless_it_is_asked_to(announce: str, count: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import esper_otel; esper_otel.autolog()" + textwrap.dedent(PROGRAM), "once"],
        env=environment(tmp_path, ESPER_OTEL_ANNOUNCE=announce),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == count
    assert done.stdout == "training begins\n"
