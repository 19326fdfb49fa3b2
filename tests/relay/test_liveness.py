"""A run whose directory was deleted: dead once nobody can be expected to make it anew."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from esper_otel.relay import liveness as module
from esper_otel.relay.liveness import DIED, RUNNING, Liveness

SILENCE_S = 0.1
GONE = 2**22 + 1
"""No process has it: the kernel gives smaller ones."""


@pytest.fixture(autouse=True)
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", SILENCE_S)


def dead_after(liveness: Liveness, wait_s: float) -> list[int]:
    """The ranks that are found dead ``wait_s`` after a first look."""
    assert liveness.report_dead(lambda _: 0) == []
    time.sleep(wait_s)
    return liveness.report_dead(lambda _: 0)


def test_without_its_trainer_it_is_dead_after_three_missed_heartbeats(tmp_path: Path) -> None:
    liveness = Liveness(tmp_path / "deleted", stall_after_s=60.0, parent_pid=GONE)

    assert dead_after(liveness, 2 * SILENCE_S) == [0]
    assert liveness.state == DIED


def test_a_trainer_that_lives_is_waited_for(tmp_path: Path) -> None:
    liveness = Liveness(tmp_path / "deleted", stall_after_s=60.0, parent_pid=os.getppid())

    assert dead_after(liveness, 2 * SILENCE_S) == []
    assert liveness.state == RUNNING


def test_where_nobody_knows_the_trainer_it_is_dead_when_a_run_counts_as_stalled(tmp_path: Path) -> None:
    patient = Liveness(tmp_path / "deleted", stall_after_s=60.0)
    hasty = Liveness(tmp_path / "deleted", stall_after_s=2 * SILENCE_S)

    assert dead_after(patient, 3 * SILENCE_S) == []
    assert dead_after(hasty, 3 * SILENCE_S) == [0]


def test_a_directory_that_is_made_anew_begins_the_wait_again(tmp_path: Path) -> None:
    liveness = Liveness(tmp_path / "run", stall_after_s=60.0, parent_pid=GONE)
    assert liveness.report_dead(lambda _: 0) == []
    (tmp_path / "run").mkdir()
    time.sleep(2 * SILENCE_S)
    assert liveness.report_dead(lambda _: 0) == []
    (tmp_path / "run").rmdir()

    assert liveness.report_dead(lambda _: 0) == []
