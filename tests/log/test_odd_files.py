"""Files in a run's directory, or given as a run, that are no logs: named once, and the rest is read."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from esper_otel.events import PolicyUpdate
from esper_otel.log import manifest
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.reader import LogReader
from tests.log.test_reader import line, lines, read_all, run
from tests.log.test_writer import put, quiet
from tests.relay.processes import relay
from tests.waiting import PATIENCE_S, wait_for

__all__ = ["run"]

ESPER_OTEL: Final = Path(sys.executable).with_name("esper-otel")
COMMANDS: Final = (
    ["sql", "RUN", "SELECT count(*) FROM ppo_updates"],
    ["report", "RUN", "-o", "OUT"],
    ["backfill", "RUN", "-o", "OUT"],
)


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("events.jsonl", content)
    return packed.getvalue()


FOREIGN: Final[dict[str, Callable[[bytes], bytes]]] = {
    "packed with xz": lzma.compress,
    "packed with bzip2": bz2.compress,
    "packed with zip": zipped,
    "text in UTF-16": lambda content: content.decode().encode("utf-16"),
    "text in UTF-16; convert": lambda content: content.decode().encode("utf-16-be"),
    "a Parquet file": lambda content: b"PAR1" + content,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_log_of_a_foreign_kind_is_one_stretch_that_says_what_it_is(run: Path, kind: str) -> None:
    (run / "events.jsonl").write_bytes(lines(1, 2))
    (run / "events.rank1.jsonl").write_bytes(FOREIGN[kind](lines(*range(500))))
    with LogReader(run) as reader:
        found = reader.read()
    bad = [item for item in found if isinstance(item, BadLine)]

    assert 2 == len(found) - len(bad)
    assert [f"is {kind}" in item.excerpt for item in bad] == [True]


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_a_foreign_kind_is_refused_by_name(run: Path, kind: str) -> None:
    path = run / "log.jsonl"
    path.write_bytes(FOREIGN[kind](lines(1)))

    with pytest.raises(OSError, match=f"is {kind}.*log.jsonl"):
        read_all(path)


def test_a_log_may_begin_with_any_garbage(run: Path) -> None:
    for garbage in (b"\xff\xfe", b"BZh9", b"PK", b"{", b"\0", b"\0\0"):
        (run / "log.jsonl").write_bytes(garbage + b"\n" + line(1))

        assert 1 in read_all(run / "log.jsonl")
    (run / "log.jsonl").write_bytes(b"\0" + lines(1, 2))
    assert {1, 2} < {*read_all(run / "log.jsonl")}


def link_to_nothing(path: Path) -> None:
    path.symlink_to("/nonexistent/events.jsonl")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


ODD: Final[dict[str, Callable[[Path], object]]] = {
    "a link to nothing": link_to_nothing,
    "a link to itself": link_to_itself,
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
}


def recorded(run: Path) -> None:
    writer = quiet(run)
    put(writer, *[PolicyUpdate(ppo_update_idx=number) for number in range(4)])
    writer.close()


def told(run: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    named = {"RUN": str(run), "OUT": str(run.parent / "out")}
    command = [ESPER_OTEL, *(named.get(part, part) for part in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["events.rank1.jsonl", "events.rank1.000001.jsonl"])
@pytest.mark.parametrize("kind", ODD)
def test_a_rank_that_cannot_be_read_is_counted_and_costs_no_other(run: Path, kind: str, name: str) -> None:
    (run / "events.jsonl").write_bytes(lines(1, 2))
    ODD[kind](run / name)

    assert [1, 2, "unreadable"] == sorted(read_all(run), key=str)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("kind", ["a link to nothing", "a link to itself"])
def test_every_command_reads_the_rest_and_says_that_a_rank_is_missing(run: Path, kind: str, command: list[str]) -> None:
    recorded(run)
    ODD[kind](run / "events.rank1.jsonl")
    done = told(run, command)

    assert 0 == done.returncode, done.stderr
    assert "1 stretch of the log gave no event (unreadable 1)" in done.stderr


def test_a_link_to_a_disk_that_comes_back_is_followed(run: Path) -> None:
    (run / "events.jsonl").symlink_to(run.parent / "disk.jsonl")
    with LogReader(run, follow=True) as reader:
        assert [True] == [isinstance(item, BadLine) for item in reader.read()]
        assert [] == reader.read()
        (run.parent / "disk.jsonl").write_bytes(lines(1))

        [found] = wait_for(reader.read, "the line")
        assert isinstance(found, Record)


def test_what_is_no_regular_file_is_not_called_missing(run: Path) -> None:
    os.mkfifo(run / "log.jsonl")
    with pytest.raises(FileNotFoundError, match=r"log\.jsonl is no regular file: write what it gives to a file"):
        LogReader(run / "log.jsonl")


def test_a_directory_of_runs_without_latest_names_some_of_them(run: Path) -> None:
    (run / "events.jsonl").write_bytes(lines(1))
    (run.parent / "latest").symlink_to("gone")

    with pytest.raises(FileNotFoundError, match=f"; there are runs below it: {run}"):
        LogReader(run.parent)


@pytest.mark.parametrize("left", [b"", b"\0" * 400, b"\n"])
def test_a_manifest_that_a_power_loss_emptied_is_written_anew(run: Path, left: bytes) -> None:
    (run / "run.json").write_bytes(left)

    assert {} == manifest.read(run)
    assert {"status": "running"} == manifest.update(run, status="running")


def test_a_manifest_with_a_byte_order_mark_is_read(run: Path) -> None:
    (run / "run.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"host": "h"}).encode())

    assert {"host": "h"} == manifest.read(run)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("content", [b"[]", b"\xff\xfe\0", b'{"host": '])
def test_a_manifest_that_cannot_be_read_costs_no_event(run: Path, content: bytes, command: list[str]) -> None:
    recorded(run)
    (run / "run.json").write_bytes(content)
    done = told(run, command)

    assert 0 == done.returncode, done.stderr
    assert ("what it says of the run is left out" in done.stderr) == (command[0] != "sql")


def test_a_relay_says_once_that_a_manifest_is_not_its_to_replace(run: Path) -> None:
    recorded(run)
    (run / "run.json").write_bytes(b"[]")
    with relay(run, "--linger", "0") as server:
        _, said = server.communicate(timeout=PATIENCE_S)

    assert 1 == said.count("run.json could not be written"), said
