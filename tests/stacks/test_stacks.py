"""The stacks of a run's processes: of those that its own record names, and of nobody else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from esper_otel.stacks import dump
from esper_otel.stacks.dump import Frame, StackError, Thread, stacks_of
from esper_otel.stacks.owners import Owner, owner_of, owners_of
from esper_otel.stacks.phase import phase_of, place_of
from tests.stacks.training import renoted, training
from tests.tools import python_environment, tool
from tests.waiting import wait_for

LOCK = ".writer.rank0.lock"
TORCH = "/x/site-packages/torch"


def asked(run: Path, *options: str, user: int | None = None, **environment: str) -> tuple[int, str, str]:
    found = subprocess.run(
        [tool("esper-otel"), "stacks", str(run), *options],
        env=python_environment(**environment),
        capture_output=True,
        text=True,
        user=user,
    )
    return found.returncode, found.stdout, found.stderr


def test_the_stack_of_each_rank_is_that_of_its_process_even_of_one_that_is_stopped(tmp_path: Path) -> None:
    with training(tmp_path, ranks=2) as processes:
        processes[1].send_signal(signal.SIGSTOP)

        status, output, _ = asked(tmp_path / "run", "--json")
        found = {each["rank"]: each for each in json.loads(output)}

        assert 0 == status
        assert [process.pid for process in processes] == [found[rank]["pid"] for rank in (0, 1)]
        for each in found.values():
            assert {"step", "<module>"} <= {frame["name"] for frame in each["threads"][0]["frames"]}
        assert (0, 2) == (asked(tmp_path / "run", "--rank", "1")[0], asked(tmp_path / "run", "--rank", "7")[0])
        assert b"T" in Path(f"/proc/{processes[1].pid}/stat").read_bytes().rpartition(b")")[2][:3]  # still stopped


def test_a_process_that_is_gone_has_no_stack_and_its_number_is_nobody_elses(tmp_path: Path) -> None:
    with training(tmp_path) as (process,):
        (owner,) = owners_of(tmp_path / "run")
        assert owner.pid == process.pid
    assert [] == owners_of(tmp_path / "run")

    with pytest.raises(StackError, match="is not that of rank 0 any more"):
        stacks_of(owner)
    assert not Owner(0, os.getpid(), 1).is_still_it
    status, _, said = asked(tmp_path / "run")
    assert 2 == status
    assert "no process of" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"start": 1}, "is not the one that the run names"),
        ({"place": "another-boot/1", "host": "node7"}, "it runs on node7: ask there"),
    ],
)
def test_a_process_that_may_be_another_one_is_named_and_not_read(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with training(tmp_path):
        renoted(tmp_path / "run" / LOCK, **changed)

        status, output, _ = asked(tmp_path / "run")

        assert 3 == status
        assert said in output
        assert "step" not in output


def test_another_container_is_named(tmp_path: Path) -> None:
    with training(tmp_path):
        place = json.loads((tmp_path / "run" / LOCK).read_bytes())["place"]
        renoted(tmp_path / "run" / LOCK, place=f"{place.split('/')[0]}/1", host="pod")

        owner = owner_of(tmp_path / "run", 0)

        assert owner is not None
        assert (None, "it runs in another container (pod): ask there") == (owner.pid, owner.problem)


def test_without_py_spy_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "program", lambda: None)
    with training(tmp_path):
        (owner,) = owners_of(tmp_path / "run")
        with pytest.raises(StackError, match=r"py-spy is not installed: pip install .*\[stacks\]"):
            stacks_of(owner)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user: run as root")
def test_another_user_is_told_that_it_is_not_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with training(tmp_path):
        (owner,) = owners_of(tmp_path / "run")
        wrapper = tmp_path / "py-spy"
        wrapper.write_text(f'#!/bin/sh\nexec setpriv --reuid=65534 --clear-groups {dump.program()} "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setattr(dump, "program", lambda: str(wrapper))

        with pytest.raises(StackError, match=f"process {owner.pid} may not be read: run this as its user"):
            stacks_of(owner)


def test_a_dump_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "py-spy"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setattr(dump, "program", lambda: str(slow))
    with training(tmp_path):
        (owner,) = owners_of(tmp_path / "run")
        with pytest.raises(StackError, match="did not answer within"):
            stacks_of(owner, limit_s=0.5)
    if (tmp_path / "pid").exists():
        pid = (tmp_path / "pid").read_text().strip()
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of the slow dump")


def frames(*files: str) -> list[Thread]:
    return [Thread([Frame("f", name, 1) for name in files])]


@pytest.mark.parametrize(
    ("files", "phase", "place"),
    [
        ((f"{TORCH}/distributed/distributed_c10d.py", "/home/a/train.py"), "collective", "/home/a/train.py"),
        ((f"{TORCH}/autograd/graph.py", f"{TORCH}/_tensor.py"), "backward", None),
        (("/x/lib/python3.11/queue.py", f"{TORCH}/utils/data/dataloader.py", "/a.py"), "data_wait", "/a.py"),
        (("/home/a/model.py", f"{TORCH}/nn/modules/module.py", "/a.py"), "forward", "/home/a/model.py"),
        (("/home/a/train.py",), None, "/home/a/train.py"),
    ],
)
def test_the_innermost_frame_that_tells_the_phase_decides(
    files: tuple[str, ...], phase: str | None, place: str | None
) -> None:
    found = place_of(frames(*files))
    assert found is not None
    assert (phase, place or files[0]) == (phase_of(frames(*files)), found.filename)
    assert (None, None) == (phase_of([]), place_of([]))
