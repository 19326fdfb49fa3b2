"""A relay on a telemetry directory of esper-lite follows the run that is going on or begins, under its own name."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import events_by_type, relay, samples, scrape
from tests.sql.made_logs import line
from tests.waiting import wait_for

LINES = [line("EPOCH_COMPLETED", {"env_id": 0, "val_accuracy": 50.0, "inner_epoch": n}, n) for n in range(1, 31)]


class Said:
    """What a relay says, as it says it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self.lines.extend(iter(self._process.stderr.readline, ""))

    def url_of(self, run: str) -> str:
        def url() -> str | None:
            found = re.findall(rf"metrics of run {re.escape(run)} at (\S+)", "".join(self.lines))
            return found[-1] if found else None

        return wait_for(url, f"a relay of {run}")

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in "".join(self.lines), f"{text!r} on the console")


@contextmanager
def following(directory: Path, *options: str, **env: str) -> Iterator[Said]:
    with relay(directory, "--follow", "--linger", "0", *options, **env) as process:
        yield Said(process)


def write(run: Path, lines: list[bytes], *, age_s: float = 0.0) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    with (run / "events.jsonl").open("ab") as file:
        file.write(b"".join(lines))
    at = time.time() - age_s
    os.utime(run / "events.jsonl", (at, at))
    return run


def epochs(url: str) -> int:
    return events_by_type(scrape(url))["TOLARIA_EPOCH_COMPLETED"]


@pytest.mark.parametrize("is_there", [True, False], ids=["empty", "absent"])
def test_a_run_that_begins_later_has_its_own_name_and_keeps_it_over_a_restart(tmp_path: Path, is_there: bool) -> None:
    directory, name = tmp_path / "telemetry", "telemetry_2026-11-28_133504"
    if is_there:
        directory.mkdir()
    with following(directory) as said:
        said.wait_for("the first one is followed as soon as it begins")
        write(directory / name, LINES)
        url = said.url_of(name)
        wait_for(lambda: epochs(url) == len(LINES), "all lines counted")
        ids = {dict(labels)["esper_run_id"] for (n, labels), _ in samples(scrape(url)).items() if n == "target_info"}
        wait_for((directory / name / "relay" / "metrics.json").exists, "the stored state")
    with following(directory) as said:
        write(directory / name, [line("EPOCH_COMPLETED", {"env_id": 0}, 50)])
        url = said.url_of(name)
        wait_for(lambda: epochs(url) == len(LINES) + 1, "each line counted once")

    assert {name} == ids
    assert not (directory / "relay").exists()


@pytest.mark.parametrize("old", [LINES, []], ids=["finished", "failed before its first line"])
def test_an_old_run_is_not_taken_for_the_one_that_begins(tmp_path: Path, old: list[bytes]) -> None:
    write(tmp_path / "telemetry_2026-11-27_000000", old, age_s=3600)
    with following(tmp_path) as said:
        said.wait_for("is no longer written to; the next run is followed")
        write(tmp_path / "telemetry_2026-11-28_000000", LINES[:7])
        url = said.url_of("telemetry_2026-11-28_000000")
        wait_for(lambda: epochs(url) == 7, "the new run's lines")


def test_a_run_that_has_just_ended_makes_way_for_the_next_one(tmp_path: Path) -> None:
    write(tmp_path / "telemetry_2026-11-27_000000", LINES)
    with following(tmp_path, "--idle-exit", "3600") as said:
        said.url_of("telemetry_2026-11-27_000000")
        write(tmp_path / "telemetry_2026-11-28_000000", LINES[:7])
        wait_for(lambda: _kept_fresh(tmp_path) and "began and is followed" in "".join(said.lines), "the change")
        url = said.url_of("telemetry_2026-11-28_000000")
        wait_for(lambda: epochs(url) == 7, "the new run's lines")


def _kept_fresh(directory: Path) -> bool:
    os.utime(directory / "telemetry_2026-11-28_000000" / "events.jsonl")
    return True


def test_a_run_that_is_silent_but_open_does_not_make_way(tmp_path: Path) -> None:
    run = write(tmp_path / "telemetry_2026-11-27_000000", LINES)
    with (run / "events.jsonl").open("ab") as file, following(tmp_path, "--idle-exit", "8", "--linger", "1") as said:
        url = said.url_of(run.name)
        write(tmp_path / "telemetry_2026-11-28_000000", LINES[:7])
        file.write(LINES[0].replace(b"id-1", b"id-99"))
        file.flush()
        wait_for(lambda: epochs(url) == len(LINES) + 1, "the late line")
        said.wait_for("no line for 8 s, so this relay ends; the run may go on")

    assert "began and is followed" not in "".join(said.lines)


def test_a_second_run_that_is_written_to_at_the_same_time_is_named_once(tmp_path: Path) -> None:
    first = write(tmp_path / "telemetry_2026-11-27_000000", LINES)
    second = tmp_path / "telemetry_2026-11-28_000000"
    numbers = iter(range(100, 100_000))

    def both_grow() -> bool:
        for run in (first, second):
            write(run, [LINES[0].replace(b"id-1", b"id-%d" % next(numbers))])
        return "is written to at the same time" in "".join(said.lines)

    with following(tmp_path) as said:
        url = said.url_of(first.name)
        wait_for(both_grow, "the message")
        expected = len((first / "events.jsonl").read_bytes().splitlines())
        wait_for(lambda: epochs(url) == expected, "the lines of the first")

    (told,) = [text for text in said.lines if "at the same time" in text]
    assert f"follows {first} alone" in told
    assert f"'esper-otel relay {second} --follow'" in told


def test_the_end_of_patience_is_not_called_the_end_of_the_run(tmp_path: Path) -> None:
    write(tmp_path / "telemetry_2026-11-27_000000", LINES)
    with relay(tmp_path, "--follow", "--idle-exit", "1", "--linger", "1") as process:
        _, said = process.communicate()

    assert "no line for 1 s, so this relay ends; the run may go on" in said
    assert "the run is over" not in said


def test_relaying_a_finished_run_again_delivers_nothing_twice(tmp_path: Path) -> None:
    run = write(tmp_path / "telemetry_2026-11-27_000000", LINES)
    with OtlpReceiver() as received:
        for path in (run, tmp_path, run):
            with relay(path, "--linger", "0", OTEL_EXPORTER_OTLP_ENDPOINT=received.http_endpoint) as process:
                _, said = process.communicate()
                assert 0 == process.returncode, said

        assert len(LINES) == len(received.logs)
