"""Readers that are no relay derive the state of a run as well: from its lock first, then from its lines."""

from __future__ import annotations

import json
from pathlib import Path

from esper_otel.log.reading.standing import RUNNING, STOPPED, is_held, standing
from tests.lifecycle.processes import Trainer
from tests.relay.processes import manifest


def test_a_held_lock_makes_a_run_a_running_one_whatever_was_stored(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = Trainer(tmp_path, "run")
    first.end("finished")
    assert not is_held(run)
    assert standing(run, manifest(run)) == "finished"
    Trainer(tmp_path, "run")
    assert is_held(run)
    assert standing(run, {"status": "finished"}) == RUNNING


def test_a_stored_word_does_not_make_a_killed_run_a_running_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer = Trainer(tmp_path, "run")
    trainer.emit(5)
    trainer.kill()
    assert json.loads((run / "run.json").read_text())["status"] == RUNNING
    assert standing(run, manifest(run)) == STOPPED
