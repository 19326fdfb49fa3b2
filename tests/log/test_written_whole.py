"""Files that commands write: whole or not at all, and never in place of a device."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest

from esper_otel.log.opening import is_stream, written_whole
from tests.log.test_odd_files import recorded
from tests.log.test_reader import run

__all__ = ["run"]

ESPER_OTEL: Final = Path(sys.executable).with_name("esper-otel")


def test_a_file_is_replaced_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with written_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert "old" == path.read_text()

    assert "new" == path.read_text()
    assert [path] == [*tmp_path.iterdir()]


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written_whole(tmp_path / "out") as file:
        file.write(b"half")
        raise RuntimeError

    assert [] == [*tmp_path.iterdir()]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with written_whole(path) as file:
        file.write(b"all")
    reader.join()

    assert [b"all"] == read
    assert path.is_fifo()


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_devices_and_descriptors_are_streams(path: str) -> None:
    assert is_stream(Path(path))


def test_ordinary_files_are_no_streams(tmp_path: Path) -> None:
    (tmp_path / "out").touch()

    assert [False] * 4 == [*map(is_stream, (tmp_path, tmp_path / "out", tmp_path / "new", Path("/dev/shm")))]


@pytest.mark.parametrize(("command", "end"), [("backfill", b"# EOF\n"), ("report", b"</html>")])
@pytest.mark.parametrize("out", ["/dev/stdout", "/dev/fd/1"])
def test_a_command_can_write_to_its_standard_output_and_nothing_else_is_there(
    run: Path, command: str, end: bytes, out: str
) -> None:
    recorded(run)
    done = subprocess.run([ESPER_OTEL, command, run, "-o", out], capture_output=True, check=True)

    assert done.stdout.strip().endswith(end.strip())
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize("command", ["backfill", "report"])
def test_a_full_device_is_an_error_and_stays_a_device(run: Path, command: str) -> None:
    recorded(run)
    done = subprocess.run([ESPER_OTEL, command, run, "-o", "/dev/full"], capture_output=True, text=True, check=False)

    assert (2, True) == (done.returncode, Path("/dev/full").is_char_device())
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
