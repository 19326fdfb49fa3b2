"""The trace of a run: times as in the log, tracks whose slices do not overlap, and parts of a run."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from esper_otel.cli.commands import app_of
from esper_otel.timeline.trace import Choice, write_trace
from tests.diagnosis import made
from tests.recorded import recording

KNOWN = {"X", "i", "C", "M"}
"""Kinds of events of the format that are used: slice, instant, counter, name."""


def events(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)["traceEvents"]


def traced(run: Path, output: Path, **choice: Any) -> list[dict[str, Any]]:
    count = write_trace(run, output, Choice(**choice))
    found = events(output)
    assert count == len(found)
    return found


def slices(found: list[dict[str, Any]]) -> dict[tuple[int, int], list[tuple[float, float]]]:
    by_track = defaultdict(list)
    for each in found:
        if each["ph"] in {"X", "i"}:
            by_track[each["pid"], each["tid"]].append((each["ts"], each["ts"] + each.get("dur", 0.0)))
    return by_track


def assert_valid(found: list[dict[str, Any]]) -> None:
    """What Perfetto's importer requires of the format."""
    named = {(each["pid"], each["tid"]) for each in found if each["name"] == "thread_name"}
    for each in found:
        assert each["ph"] in KNOWN
        assert isinstance(each["pid"], int)
        assert each["ph"] == "M" or each["ts"] >= 0.0
        assert each["ph"] != "X" or each["dur"] > 0.0
        assert each["ph"] not in {"X", "i"} or (each["pid"], each["tid"]) in named
        assert each["ph"] != "C" or isinstance(each["args"]["value"], float)
    for track in slices(found).values():
        for before, after in zip(sorted(track), sorted(track)[1:], strict=False):
            assert after[0] >= before[1] - 1.0, "slices of a track do not overlap, to a microsecond"


def two_ranks(directory: Path) -> Path:
    """Five rounds on two ranks, rank 1 half a second later; updates, phases, a checkpoint, memory, a finding."""
    lines = []
    for rank in (0, 1):
        late = 0.5 * rank
        for number in range(1, 6):
            end = 10 * number + late
            lines += [
                made.line("TOLARIA_BATCH_COMPLETED", end, rank, batch_idx=number, batch_time_ms=8000.0),
                made.line("TOLARIA_TRAINING_UPDATE", end - 1, rank, update=number, model="Net", loss=1.0 / number),
                made.line("TOLARIA_PHASE_DURATIONS", end, rank, durations_s={"data_wait": [0.5, 0.5]}),
                made.line("TOLARIA_INFRASTRUCTURE_SNAPSHOT", end, rank, device="cpu", process_memory_bytes=2**30),
            ]
    lines += [made.line("CHECKPOINT_SAVED", 25, path="a.pt", duration_ms=2000.0)]
    lines += [made.line("TOLARIA_LOADER_PASS", 50, kind="epoch", number=1, duration_ms=40_000.0)]
    found = {"kind": "straggler", "grade": "warning", "sentence": "Rank 1 is slow.", "who": {"rank": "1"}}
    lines += [made.line("FINDING", 30, 0, **found)]
    return made.run(directory, sorted(lines, key=lambda each: each["timestamp"]))


def test_all_ranks_lie_on_one_time_axis_with_slices_counters_and_findings(tmp_path: Path) -> None:
    found = traced(two_ranks(tmp_path / "run"), tmp_path / "x.json.gz")
    assert_valid(found)
    by_name = defaultdict(list)
    for each in found:
        by_name[each["name"]].append(each)

    (first, second) = by_name["round 2"]
    assert (second["ts"] - first["ts"], first["dur"]) == pytest.approx((0.5e6, 8e6))
    assert [each["dur"] for each in by_name["data_wait"]] == pytest.approx([1e6] * 10)
    assert by_name["checkpoint"][0]["dur"] == pytest.approx(2e6)
    assert by_name["epoch 1"][0]["dur"] == pytest.approx(40e6)
    assert by_name["warning: Rank 1 is slow."][0]["pid"] == 1
    assert {each["args"]["value"] for each in by_name["resident memory, MiB"]} == {1024.0}
    assert [each["args"]["value"] for each in by_name["loss of Net"] if not each["pid"]] == [
        1.0 / n for n in range(1, 6)
    ]
    assert {each["args"]["name"] for each in by_name["process_name"]} == {"rank 0", "rank 1"}


@pytest.mark.parametrize(
    ("options", "rounds"),
    [({"round": 3}, {"round 3"}), ({"update": 3}, {"round 2", "round 3"})],
)
def test_a_round_or_an_update_is_drawn_alone_on_all_ranks(
    options: dict[str, int], rounds: set[str], tmp_path: Path
) -> None:
    found = traced(two_ranks(tmp_path / "run"), tmp_path / "x.json", **options)

    assert_valid(found)
    drawn = [each for each in found if each["name"].startswith("round ")]
    assert {each["name"] for each in drawn} == rounds
    assert {each["pid"] for each in drawn} == {0, 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--round", "9"], "the log has no round 9; the last is 5"),
        (["--update", "9"], "the log has no update 9; the last is 5"),
        (["--round", "1", "--update", "1"], "--round and --update exclude each other"),
        (["--since", "soon"], "--since"),
    ],
)
def test_a_part_that_is_not_there_is_one_clear_error(arguments: list[str], said: str, tmp_path: Path) -> None:
    run, output = str(two_ranks(tmp_path / "run")), tmp_path / "x.json"
    done = CliRunner().invoke(app_of(["trace"]), ["trace", run, "-o", str(output), *arguments])

    assert (done.exit_code, said in done.stderr, output.exists()) == (2, True, False)


def test_the_last_part_of_a_run_is_counted_from_its_last_event(tmp_path: Path) -> None:
    run, output = str(two_ranks(tmp_path / "run")), tmp_path / "x.json"
    done = CliRunner().invoke(app_of(["trace"]), ["trace", run, "-o", str(output), "--since", "5s"])

    assert done.exit_code == 0
    assert {each["name"] for each in events(output) if each["name"].startswith("round")} == {"round 5"}


seconds = st.floats(0.0, 1000.0).map(lambda value: round(value, 3))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.tuples(seconds, st.integers(0, 2), st.floats(0.001, 500.0)), min_size=1, max_size=20))
def test_whatever_the_times_are_the_trace_is_valid(
    rounds: list[tuple[float, int, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("trace")
    lines = [
        made.line("TOLARIA_BATCH_COMPLETED", end, rank, batch_idx=number, batch_time_ms=1e3 * length)
        | {"event_id": f"round-{number}"}
        for number, (end, rank, length) in enumerate(rounds)
    ]
    found = traced(made.run(directory / "run", lines), directory / "x.json")

    assert_valid(found)
    assert sum(each["name"].startswith("round ") for each in found) == len(rounds)


def test_a_recording_of_esper_lite_becomes_a_valid_trace(tmp_path: Path) -> None:
    found = traced(recording("esper-lite-2env"), tmp_path / "x.json.gz")

    assert_valid(found)
    tracks = {each["args"]["name"] for each in found if each["name"] == "thread_name"}
    assert {"rounds", "policy updates", "phase train", "environment 0", "environment 1"} <= tracks
