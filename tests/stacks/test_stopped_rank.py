"""A rank that is stopped: the relay reads its stack, and the diagnosis names it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from esper_otel.diagnosis import stopped
from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Finding
from esper_otel.stacks import record
from esper_otel.stacks.dump import stacks_of
from esper_otel.stacks.owners import owner_of
from esper_otel.stacks.record import Recorded
from tests.stacks.training import renoted, training
from tests.tools import python_environment, tool
from tests.waiting import wait_for


def findings(run: Path) -> list[Finding]:
    return [each for each in diagnose(run).findings if each.kind == "rank_stopped"]


def test_a_stopped_rank_is_named_with_its_stack_and_one_that_goes_on_is_not(tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment = python_environment(OTEL_EXPORTER_PROMETHEUS_PORT="0")
    command = [tool("esper-otel"), "relay", str(run), "--follow", "--linger", "0"]
    with training(tmp_path, ranks=3) as processes, (tmp_path / "relay.log").open("wb") as log:
        assert [] == findings(run)
        relay = subprocess.Popen(command, env=environment, stderr=log)
        try:
            wait_for(lambda: b"metrics of run" in (tmp_path / "relay.log").read_bytes(), "the relay's first line")
            processes[1].send_signal(signal.SIGSTOP)
            wait_for(record.path_of(run, 1).exists, "the stack of rank 1")
            (finding,) = wait_for(lambda: findings(run), "the finding")

            assert {"rank": "1", "pid": str(processes[1].pid)} == finding.who
            assert "Rank 1 of 3 gives no sign of life" in finding.sentence
            assert any(frame.startswith("step (") for frame in finding.stack)
            assert [] == [rank for rank in (0, 2) if record.path_of(run, rank).exists()]

            processes[1].send_signal(signal.SIGCONT)
            wait_for(lambda: not findings(run), "the end of the finding")
        finally:
            relay.terminate()
            relay.wait()


def test_of_ranks_that_all_stand_still_the_one_that_does_not_wait_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with training(tmp_path, ranks=2) as processes:
        owners = [owner_of(run, rank) for rank in (0, 1)]
        stacks = [stacks_of(owner) for owner in owners if owner is not None]
        monkeypatch.setattr(stopped, "STALLED_S", -1.0)  # as if nothing had been emitted for long
        assert [] == findings(run)
        for rank, phase in ((0, "collective"), (1, None)):
            recorded = Recorded(rank, processes[rank].pid, "here", 2**62, phase, stacks[rank])
            record.save(run, recorded)

        (finding,) = findings(run)

        assert "1" == finding.who["rank"]
        assert "does not go on, and the others wait for it" in finding.sentence
        record.save(run, Recorded(1, processes[1].pid, "here", 2**62, "backward", stacks[1]))
        assert [] == findings(run)  # all of them wait: for whom is not known


def test_a_rank_of_another_machine_has_another_clock_and_is_not_judged_by_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopped, "proving_silence_s", lambda *_: -1.0)  # as if nobody had been heard of for long
    with training(tmp_path, ranks=2):
        assert ["0", "1"] == [finding.who["rank"] for finding in findings(tmp_path / "run")]
        renoted(tmp_path / "run" / ".writer.rank1.lock", place="another-boot/1", host="node7")

        assert ["0"] == [finding.who["rank"] for finding in findings(tmp_path / "run")]


@pytest.mark.parametrize("content", ["", "{", '{"rank": 1}', "[" * 100_000])
def test_a_damaged_record_is_none(tmp_path: Path, content: str) -> None:
    record.path_of(tmp_path, 1).write_text(content)
    assert record.load(tmp_path, 1) is None
