from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esper_otel.log import manifest
from esper_otel.log.locks import kernel_locks
from esper_otel.log.locks.lock import FileLock, LockHeldError, excluding_others, holder, is_free, known_holder
from esper_otel.sql.compact import compact
from tests.log.writing import EVENT, put, quiet, until

NOBODY = 65534
OTHER_PROCESS = "import sys, time; from pathlib import Path; from esper_otel.log.locks.lock import FileLock; "
AS_NOBODY = f"import os; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); "
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="to act as another user")


@pytest.fixture
def path() -> Iterator[Path]:
    """A place that every user may enter, unlike ``tmp_path``."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "run").mkdir(mode=0o755)
        Path(directory).chmod(0o755)
        yield Path(directory) / "run" / "a.lock"


@pytest.fixture
def lock(path: Path) -> Iterator[FileLock]:
    lock = FileLock(path)
    lock.acquire()
    yield lock
    lock.release()


@pytest.fixture(params=["ofd", "flock"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Code that gives another process the same kind of lock: a system without the first has no constant for it."""
    if request.param == "ofd":
        return OTHER_PROCESS
    monkeypatch.setattr(kernel_locks, "_SET", None)
    return OTHER_PROCESS + "from esper_otel.log.locks import kernel_locks; kernel_locks._SET = None; "


def is_refused(path: Path, kind: str) -> bool:
    """Whether another process is refused the lock."""
    code = kind + "FileLock(Path(sys.argv[1])).acquire()"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)
    assert not done.stderr or b"LockHeldError" in done.stderr, done.stderr
    return done.returncode != 0


def held_by_lockf(path: Path) -> subprocess.Popen[bytes]:
    """A process that holds the lock as earlier versions did."""
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB); "
        "print('ready', flush=True); time.sleep(60)"
    )
    return started([sys.executable, "-c", code, str(path)])


def started(command: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline(), "it ended before it held the lock"
    return process


def ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def copy_tree(path: Path) -> None:
    shutil.copytree(path.parent, path.parent.with_name("copy"))


def pack(path: Path) -> None:
    shutil.make_archive(str(path.parent.with_name("packed")), "tar", path.parent)


def ask_for_it(path: Path) -> None:
    known_holder(path)


def try_to_take_it(path: Path) -> None:
    with pytest.raises(LockHeldError):
        FileLock(path).acquire()


@pytest.mark.parametrize("act", [copy_tree, pack, ask_for_it, try_to_take_it])
def test_a_file_that_the_holder_opens_and_closes_stays_locked(
    kind: str, path: Path, act: Callable[[Path], None]
) -> None:
    lock = FileLock(path)
    lock.acquire()
    act(path)

    assert is_refused(path, kind)
    assert os.getpid() == known_holder(path)
    lock.release()
    assert not is_refused(path, kind)


def test_a_lock_is_free_once_its_holder_was_killed(kind: str, path: Path) -> None:
    code = kind + "FileLock(Path(sys.argv[1])).acquire(); print('ready', flush=True); time.sleep(60)"
    process = started([sys.executable, "-c", code, str(path)])
    assert process.pid == known_holder(path)

    ended(process)

    assert known_holder(path) is None
    FileLock(path).acquire()


def test_a_forked_child_neither_keeps_nor_releases_its_parents_lock(kind: str, path: Path) -> None:
    code = (
        "import os; " + kind + "lock = FileLock(Path(sys.argv[1])); lock.acquire()\n"
        "if not os.fork(): print('child', flush=True); lock.release(); time.sleep(60)\n"
        "time.sleep(60)"
    )
    parent = started([sys.executable, "-c", code, str(path)])
    child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
    assert parent.pid == known_holder(path)

    parent.kill()
    parent.wait()

    assert known_holder(path) is None
    os.kill(child, signal.SIGKILL)
    parent.communicate()


def test_locks_of_earlier_versions_are_respected_and_their_holder_is_named(path: Path) -> None:
    path.touch()
    process = held_by_lockf(path)
    assert process.pid == known_holder(path)
    with pytest.raises(LockHeldError, match=f"process {process.pid} already"):
        FileLock(path).acquire()
    ended(process)
    FileLock(path).acquire()


def test_earlier_versions_respect_our_lock(lock: FileLock, path: Path) -> None:
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)

    assert b"BlockingIOError" in done.stderr


@needs_root
@pytest.mark.parametrize("old_mode", [None, 0o644, 0o666])
def test_another_user_cannot_open_the_file_of_a_lock(path: Path, old_mode: int | None) -> None:
    if old_mode is not None:
        path.touch()
        path.chmod(old_mode)
    lock = FileLock(path)
    lock.acquire()

    open_to_all = path.with_name("another")
    open_to_all.write_text("text")
    opened, refused = (
        subprocess.run(["cat", file], user=NOBODY, group=NOBODY, extra_groups=[], check=False, capture_output=True)
        for file in (open_to_all, path)
    )
    assert b"text" == opened.stdout
    assert b"Permission denied" in refused.stderr
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    lock.release()


@needs_root
def test_a_reader_who_locked_an_older_file_neither_stops_a_writer_nor_passes_for_one(path: Path) -> None:
    path.touch(mode=0o644)
    code = "import sys, time; f = open(sys.argv[1]); fcntl.lockf(f, fcntl.LOCK_SH); print(1, flush=True); "
    reader = started([sys.executable, "-c", f"import fcntl; {AS_NOBODY}{code}time.sleep(60)", str(path)])
    assert known_holder(path) is None

    FileLock(path).acquire()

    assert os.getpid() == known_holder(path)
    ended(reader)


@pytest.mark.parametrize("is_ours", [True, False], ids=["a writer of ours", "a flock by anybody"])
def test_changing_run_json_waits_for_a_lock_for_a_second_at_most(tmp_path: Path, is_ours: bool) -> None:
    path = tmp_path / ".run.json.lock"
    foreign = FileLock(path)
    foreign.acquire()
    if not is_ours:
        foreign.release()
        fd = os.open(path, os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
    began = time.monotonic()
    manifest.update(tmp_path, status="running")

    assert time.monotonic() - began < 3
    assert {"status": "running"} == manifest.read(tmp_path)


def test_two_who_change_the_same_file_take_turns(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from esper_otel.log.locks.lock import excluding_others\n"
        "count = Path(sys.argv[1] + '.count')\n"
        "for _ in range(200):\n"
        "    with excluding_others(Path(sys.argv[1]), 60.0): count.write_text(str(int(count.read_text()) + 1))"
    )
    count = Path(f"{path}.count")
    count.write_text("0")
    both = [subprocess.Popen([sys.executable, "-c", code, path]) for _ in range(2)]

    assert [0, 0] == [process.wait() for process in both]
    assert "400" == count.read_text()


def test_a_pipe_in_place_of_a_lock_holds_nobody_up(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(OSError, match="not a regular file"):
        known_holder(path)
    with pytest.raises(OSError, match="not a regular file"), excluding_others(path):
        pass
    assert holder(path) is None
    assert is_free(path) is None


def test_a_link_in_place_of_a_lock_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic link"):
        FileLock(path).acquire()
    with pytest.raises(OSError, match="symbolic link"):
        known_holder(path)
    assert "kept" == (tmp_path / "elsewhere").read_text()


@needs_root
def test_whoever_may_not_open_a_lock_takes_its_holder_for_neither_dead_nor_living(lock: FileLock, path: Path) -> None:
    code = (
        OTHER_PROCESS + AS_NOBODY + "from esper_otel.log.locks.lock import is_free; print(is_free(Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False)

    assert b"None" == done.stdout.strip(), done.stderr


def test_the_number_of_a_holder_in_another_container_is_not_taken_for_one_of_ours(lock: FileLock, path: Path) -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c"]
    code = "from esper_otel.log.locks.lock import holder; import pathlib, sys; print(holder(pathlib.Path(sys.argv[1])))"
    done = subprocess.run([*command, code, path], capture_output=True, check=False)
    if b"unshare" in done.stderr:
        pytest.skip("no process namespaces to be had here")

    assert b"0" == done.stdout.strip()


def test_a_writer_whose_lock_was_closed_or_removed_takes_it_again(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    path = tmp_path / "r" / ".writer.rank0.lock"
    put(writer, EVENT)
    until(lambda: writer.written_events == 1)

    assert writer._lock._file is not None
    os.close(writer._lock._file.number)
    until(lambda: holder(path) == os.getpid())
    path.unlink()
    until(lambda: holder(path) == os.getpid())
    writer.close()

    assert holder(path) is None


def test_a_table_is_compacted_by_one_at_a_time(tmp_path: Path) -> None:
    writer = quiet(tmp_path / "r")
    put(writer, EVENT)
    writer.close()
    lock = FileLock(tmp_path / "r" / "parquet" / ".lock")
    (tmp_path / "r" / "parquet").mkdir()
    lock.acquire()

    with pytest.raises(BlockingIOError, match="another process compacts"):
        compact(tmp_path / "r")
    lock.release()
    assert 1 == compact(tmp_path / "r").lines
