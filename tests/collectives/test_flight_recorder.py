"""Dumps of PyTorch's Flight Recorder in a run's directory, made by PyTorch itself in a job of three ranks."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from esper_otel.collectives.flight import dumps_in
from esper_otel.collectives.matching import mismatch, not_entered
from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Finding
from tests.collectives import program
from tests.diagnosis.made import run, training
from tests.tools import python_environment
from tests.waiting import PATIENCE_S

KINDS = ("collective_not_entered", "collective_mismatch", "dump_unreadable")


@contextmanager
def job(fault: str, directory: Path) -> Iterator[Path]:
    """The directory with dumps of a job of three ranks, as pickles in ``run`` and as JSON in ``json``."""
    run(directory / "run", training())
    (directory / "json").mkdir()
    command = [sys.executable, program.__file__, fault, str(directory)]
    with ExitStack() as ended, (directory / "output").open("wb") as output:
        ranks = []
        for rank in range(3):
            environment = python_environment(RANK=str(rank), WORLD_SIZE="3", TORCH_FR_BUFFER_SIZE="100")
            ranks.append(subprocess.Popen(command, env=environment, stderr=output, stdout=output))
            ended.callback(ranks[-1].wait)
            ended.callback(ranks[-1].kill)
        assert ranks[program.ODD].wait(timeout=PATIENCE_S) == 0, (directory / "output").read_text()
    yield directory


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with job("not_entered", tmp_path_factory.mktemp("hanging")) as directory:
        yield directory


def findings(directory: Path) -> list[Finding]:
    return [finding for finding in diagnose(directory).findings if finding.kind in KINDS]


def test_the_rank_that_did_not_enter_a_collective_is_named_with_since_when_and_where_it_was(hanging: Path) -> None:
    (finding,) = findings(hanging / "run")

    assert finding.kind == "collective_not_entered"
    assert finding.who == {"rank": "1"}
    assert finding.sentence.startswith("Rank 1 did not enter all_reduce 5 of default_pg; ranks 0, 2 had waited")
    assert [figure.text for figure in finding.evidence] == [
        "last collective of rank 0 all_reduce 5",
        "last collective of rank 1 broadcast 4",
        "last collective of rank 2 all_reduce 5",
    ]
    assert "it is at main (" in finding.cause
    assert "the others wait at enter (" in finding.cause
    assert any(frame.startswith("main (") for frame in finding.stack)


def test_dumps_as_json_tell_the_same_without_the_stack(hanging: Path, tmp_path: Path) -> None:
    directory = run(tmp_path / "run", training())
    for path in (hanging / "json").iterdir():
        copy = directory / path.name
        copy.write_bytes(path.read_bytes())
        os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))

    (as_json,), (as_pickle,) = findings(directory), findings(hanging / "run")

    assert as_json.evidence == as_pickle.evidence
    assert (as_json.who, as_json.when, as_json.stack) == (as_pickle.who, as_pickle.when, [])


@pytest.mark.parametrize(
    ("fault", "what", "values"),
    [
        ("size", "number of elements", {0: "6", 1: "64", 2: "6"}),
        ("dtype", "type of elements", {0: "Float", 1: "Double", 2: "Float"}),
        ("operation", "operation", {0: "all_reduce", 1: "broadcast", 2: "all_reduce"}),
    ],
)
def test_the_rank_that_entered_another_collective_is_named(
    fault: str, what: str, values: dict[int, str], tmp_path: Path
) -> None:
    with job(fault, tmp_path) as directory:
        (finding,) = findings(directory / "run")

    assert finding.kind == "collective_mismatch"
    assert finding.who == {"rank": "1"}
    assert finding.sentence == f"Rank 1 entered collective 5 of default_pg with another {what} than the others."
    assert [figure.text for figure in finding.evidence] == [f"{what} of rank {n} {text}" for n, text in values.items()]


def test_a_rank_whose_dump_is_older_than_the_collective_did_not_miss_it(hanging: Path) -> None:
    dumps, _ = dumps_in(hanging / "run")
    found = not_entered(dumps)
    assert found is not None

    early = [msgspec.structs.replace(dump, written_ns=found.entry.time_created_ns) for dump in dumps]
    assert not_entered(early) is None


def test_a_collective_that_was_completed_waits_for_nobody(hanging: Path) -> None:
    dumps, _ = dumps_in(hanging / "run")
    done = [
        msgspec.structs.replace(dump, entries=[msgspec.structs.replace(e, state="completed") for e in dump.entries])
        for dump in dumps
    ]

    assert not_entered(done) is None


def test_ranks_that_did_the_same_have_no_finding(hanging: Path) -> None:
    dumps, _ = dumps_in(hanging / "run")
    same = [msgspec.structs.replace(dumps[0], rank=rank) for rank in range(3)]

    assert (not_entered(same), mismatch(same)) == (None, None)


def test_dumps_of_an_earlier_session_are_left_out(hanging: Path, tmp_path: Path) -> None:
    directory = run(tmp_path / "run", training())
    (directory / "run.json").write_text('{"run_id": "made", "started_at": "2026-03-01T12:00:00Z"}')
    for path in (hanging / "json").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
        os.utime(directory / path.name, (1.0, 1.0))

    assert findings(directory) == []


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("name", ["nccl_trace_rank_0", "flight_recorder/rank_0"])
def test_a_dump_that_could_run_code_is_refused_and_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = run(tmp_path / "run", training())
    (directory / "flight_recorder").mkdir()
    (directory / name).write_bytes(pickle.dumps({"entries": [Harmful()]}, protocol=2))

    (finding,) = findings(directory)

    assert finding.kind == "dump_unreadable"
    assert "it has the pickle operation GLOBAL, which plain data does not need" in finding.sentence
    assert not (tmp_path / "harmed").exists()
