"""Files of NCCL Inspector in a run's directory, made here by the format that its plugin documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from esper_otel.collectives.inspector import latest
from esper_otel.diagnosis.diagnose import diagnose
from tests.diagnosis.made import run, training

STEP_US = 10_000
START_US = 1_772_366_400_000_000


def lines(rank: int, exec_us: int, *, ranks: int = 3, count: int = 200, is_new: bool = True) -> list[dict[str, Any]]:
    """A file with a dump after every tenth collective; format 4.3 (``is_new``) has headers in its first line."""
    found: list[dict[str, Any]] = []
    header = {"id": "0x7f8c496ae9f661", "rank": rank, "n_ranks": ranks, "nnodes": 1}
    for number in range(count):
        moment = START_US + (number // 10 + 1) * 10 * STEP_US
        version = "v4.3" if is_new else "v4.0"
        metadata = {"inspector_output_format_version": version, "dump_timestamp_us": moment, "hostname": "a", "pid": 1}
        heads = {"header": header, "metadata": metadata}
        if is_new and number % 10 == 0:
            found.append({**heads, "dump_stats": {"coll_records": 10, "coll_dropped_total": 0}})
        performance = {
            "coll": "AllReduce",
            "coll_sn": number,
            "coll_msg_size_bytes": 4096,
            "coll_exec_time_us": exec_us,
        }
        found.append({**({} if is_new else heads), "coll_perf": {**performance, "coll_busbw_gbs": 1.5}})
    return found


def written(directory: Path, files: list[list[dict[str, Any]]]) -> Path:
    folder = directory / "nccl-inspector"
    folder.mkdir()
    for number, each in enumerate(files):
        (folder / f"node-pid{number}.log").write_text("".join(json.dumps(line) + "\n" for line in each) + '{"coll_perf')
    return directory


@pytest.mark.parametrize("is_new", [True, False])
def test_the_rank_that_others_wait_for_in_their_collectives_is_a_straggler(is_new: bool, tmp_path: Path) -> None:
    files = [lines(rank, 500 if rank == 2 else 4500, is_new=is_new) for rank in range(3)]
    directory = written(run(tmp_path / "run", training()), files)

    (finding,) = diagnose(directory).findings

    assert finding.kind == "straggler"
    assert finding.who == {"rank": "2"}
    assert finding.sentence == (
        "Rank 2 enters each collective 4 ms after the others, by the times of NCCL; they wait for it."
    )


@pytest.mark.parametrize("slow_us", [4500, 3500])
def test_ranks_that_wait_alike_have_no_straggler(slow_us: int, tmp_path: Path) -> None:
    files = [lines(rank, slow_us if rank == 2 else 4500) for rank in range(3)]

    assert diagnose(written(run(tmp_path / "run", training()), files)).findings == []


@pytest.mark.parametrize(
    "files",
    [
        [lines(0, 4500), lines(1, 500)],
        [lines(rank, 500 if rank == 2 else 4500, count=30) for rank in range(3)],
        [[], [{"header": 1}], [{"coll_perf": {"coll_sn": "x"}}]],
    ],
)
def test_of_files_that_are_too_few_too_short_or_something_else_nothing_is_concluded(
    files: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()

    assert latest(written(tmp_path / "run", files)) is None
