"""Who starts a run again after a crash: torchrun by itself, or a supervisor's loop. The relay has what the log has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from tests.lifecycle.processes import UPDATE, end_process, seen
from tests.lifecycle.restarted_trainer import UPDATES
from tests.relay.processes import environment, manifest
from tests.tools import ROOT
from tests.waiting import PATIENCE_S, wait_for

SCRIPT = "tests/lifecycle/restarted_trainer.py"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@contextmanager
def supervised(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that starts trainers, in a group of its own; what is left of it, and its relay, ends with the block."""
    supervisor = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="1", PYTHON=sys.executable, SCRIPT=SCRIPT, FOLDER=str(folder)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield supervisor
    finally:
        if supervisor.poll() is None:
            os.killpg(supervisor.pid, 15)
        supervisor.communicate()
        if pid := (manifest(folder / "run").get("relay") or {}).get("pid"):
            end_process(pid)


def shown(folder: Path) -> tuple[int, str | None]:
    """Updates and state that the run's relay serves."""
    entry = manifest(folder / "run").get("relay") or {}
    return seen(entry["prometheus_url"]) if entry.get("prometheus_url") else (0, None)


def logged(folder: Path) -> list[Record]:
    """Every line of every rank."""
    if not (folder / "run").exists():
        return []
    with LogReader(folder / "run") as reader:
        return [item for batch in iter(reader.read, []) for item in batch if isinstance(item, Record)]


def updates_logged(folder: Path) -> int:
    return sum(record.event_type == UPDATE for record in logged(folder))


def ends(folder: Path, rank: int) -> list[str]:
    """Outcomes of the sessions of a rank, as its log tells them."""
    records = [record for record in logged(folder) if record.event_type == "RUN_ENDED" and record.rank == rank]
    return [json.loads(bytes(record.data))["outcome"] for record in records]


def test_a_run_that_torchrun_starts_again_is_scraped_as_it_is_logged_and_finishes(tmp_path: Path) -> None:
    with supervised(
        tmp_path, *TORCHRUN, "--max-restarts", "1", "--monitor-interval", "0.1", SCRIPT, str(tmp_path), "1"
    ) as torchrun:
        second = [tmp_path / f"emitted1.rank{rank}" for rank in range(2)]
        wait_for(lambda: all(path.exists() for path in second), "the updates of the second attempt")
        everything = updates_logged(tmp_path)
        assert everything > 2 * UPDATES + UPDATES // 2  # both of the second, and rank 1's of the first
        wait_for(lambda: shown(tmp_path) == (everything, "running"), "the updates of both attempts, in a running run")
        ends_before = [ends(tmp_path, rank) for rank in range(2)]
        (tmp_path / "release").touch()
        assert torchrun.wait(PATIENCE_S) == 0
        wait_for(lambda: shown(tmp_path) == (everything, "finished"), "the end in the scrape")

    assert updates_logged(tmp_path) == everything
    assert [ends(tmp_path, rank) for rank in range(2)] == [[*first, "finished"] for first in ends_before]
    assert ends_before[1] in ([], ["died"])  # it was killed, and a relay may have seen that before the restart
    assert manifest(tmp_path / "run")["status"] == "finished"


def test_a_run_that_a_supervisor_starts_again_and_again_is_scraped_as_it_is_logged_and_finishes(tmp_path: Path) -> None:
    crashes = 3
    loop = 'until "$PYTHON" "$SCRIPT" "$FOLDER" 3; do :; done'
    with supervised(tmp_path, "sh", "-c", loop) as supervisor:
        wait_for((tmp_path / f"emitted{crashes}.rank0").exists, "the last attempt")
        everything = crashes * (UPDATES // 2 + 1) + UPDATES
        wait_for(lambda: shown(tmp_path) == (everything, "running"), "the updates of all attempts, in a running run")
        assert updates_logged(tmp_path) == everything
        before = ends(tmp_path, 0)
        assert set(before) <= {"died"}
        (tmp_path / "release").touch()
        assert supervisor.wait(PATIENCE_S) == 0
        wait_for(lambda: shown(tmp_path) == (everything, "finished"), "the end in the scrape")

    assert updates_logged(tmp_path) == everything
    assert ends(tmp_path, 0) == [*before, "finished"]
    assert manifest(tmp_path / "run")["status"] == "finished"
