from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from esper_otel.log.layout import Series
from esper_otel.log.opening import Descriptor, open_to_change, open_to_read
from esper_otel.log.writing.append import AppendFile
from tests.log.writing import EVENT, put, quiet, types, until

USERS_FILES = 16


def closed_by_a_library(writer_fd: int, directory: Path) -> list[int]:
    """Descriptors of a user's files, one of which has the number that a library closed."""
    os.close(writer_fd)
    opened = [
        os.open(directory / f"checkpoint{n}.bin", os.O_RDWR | os.O_CREAT | os.O_APPEND) for n in range(USERS_FILES)
    ]
    assert writer_fd in opened
    for fd in opened:
        os.write(fd, b"WEIGHTS")
    return opened


def test_a_number_that_belongs_to_a_checkpoint_by_now_is_not_written_to(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, EVENT)
    until(lambda: writer.written_events == 1)
    file = writer._disk._file._file
    assert file is not None
    opened = closed_by_a_library(file.number, tmp_path)
    put(writer, *[EVENT] * 20)
    until(lambda: writer.written_events == 21)
    writer.close()

    assert {b"WEIGHTS"} == {path.read_bytes() for path in tmp_path.glob("checkpoint*.bin")}
    assert ["TAMIYO_DECISION"] * 21 == types(tmp_path / "r")
    assert 1 == capfd.readouterr().err.count("other code in this process closed its descriptor")
    for fd in opened:
        os.close(fd)  # none of them was closed by the writer


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["another file", "the same file, opened to be read"])
def test_a_number_that_belongs_to_somebody_else_by_now_is_not_closed(tmp_path: Path, flags: int) -> None:
    ours = tmp_path / "ours"
    file = Descriptor(open_to_change(ours, os.O_RDWR))
    os.close(file.number)
    theirs = os.open(ours if flags == os.O_RDONLY else tmp_path / "theirs", flags | os.O_CREAT)
    assert theirs == file.number

    file.close()

    os.close(theirs)


def test_a_log_that_other_code_closed_says_so_at_the_next_write(tmp_path: Path) -> None:
    log = AppendFile(Series(tmp_path, 0), 1000)
    log.open()
    assert log._file is not None
    os.close(log._file.number)

    assert not log.is_removed()
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        log.write(memoryview(b"line\n"))
    assert errno.EBADF == raised.value.errno


def test_nothing_that_is_opened_gets_the_number_of_a_standard_stream(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"text")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from esper_otel.log.opening import create, open_to_change, open_to_read\n"
        "d, result = Path(sys.argv[1]), os.dup(1); os.closerange(0, 3)\n"
        "files = [open_to_read(d / 'log'), create(d / 'new')]\n"
        "numbers = [open_to_change(d / 'log', os.O_RDWR), *(file.fileno() for file in files)]\n"
        "os.write(result, repr(min(numbers)).encode())"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, check=True)

    assert 3 <= int(done.stdout)


def test_what_c_code_prints_lands_in_no_file_of_a_run_whose_standard_streams_are_closed(tmp_path: Path) -> None:
    code = (
        "import os, sys, esper_otel\n"
        "from esper_otel.events import PolicyUpdate\n"
        "esper_otel.configure(telemetry_dir=sys.argv[1], run_id='r', relay=False)\n"
        "for step in range(20):\n"
        "    for fd in range(3):\n"
        "        try: os.write(fd, b'NCCL WARN')\n"
        "        except OSError: pass\n"
        "    esper_otel.emit(PolicyUpdate(ppo_update_idx=step))\n"
        "esper_otel.shutdown()"
    )
    shell = f'exec "{sys.executable}" -c "$0" "$1" <&- >&- 2>&-'
    subprocess.run(["bash", "-c", shell, code, tmp_path], check=True)

    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if b"NCCL" in path.read_bytes()]
    assert 20 == types(tmp_path / "r").count("TAMIYO_POLICY_UPDATE")


@pytest.mark.parametrize("name", ["fifo", "directory"])
def test_only_regular_files_are_opened_and_nobody_waits(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()

    before = len(list(Path("/proc/self/fd").iterdir()))
    for opening in (open_to_read, lambda path: open_to_change(path, os.O_RDWR)):
        with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
            opening(path)
    assert before == len(list(Path("/proc/self/fd").iterdir()))


def test_a_file_system_that_counts_no_links_is_written_to_and_a_removal_there_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Some that run in user space (FUSE) tell 0 for a file that is there."""
    tell = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((*tell(fd)[:3], 0, *tell(fd)[4:])))
    writer = quiet(tmp_path / "r")
    put(writer, EVENT)
    until(lambda: writer.written_events == 1)
    (tmp_path / "r" / "events.jsonl").unlink()
    put(writer, EVENT)
    until(lambda: "removed while in use" in capfd.readouterr().err)
    put(writer, EVENT)
    writer.close()

    assert ["TAMIYO_DECISION"] * 2 == [name for name in types(tmp_path / "r") if name != "TELEMETRY_LOSS"]
