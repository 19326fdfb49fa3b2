"""A pipeline that an error ended is reported as failed, not as slow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from esper_otel.relay import parts
from esper_otel.relay.following import Worker
from esper_otel.relay.options import Options
from esper_otel.relay.pipeline import Account, Context, Registration
from esper_otel.relay.service import Relay
from tests.relay.processes import training
from tests.waiting import PATIENCE_S


class Failing(Worker):
    destination = "the file of rounds"
    is_required = False
    accounts: Sequence[Account] = ()

    def work(self) -> bool:
        raise OSError("disk is full")


def make(context: Context) -> Failing:
    return Failing()


def test_the_end_names_the_failure_and_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with training(tmp_path, "--rounds", "2") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    monkeypatch.setattr(parts, "PIPELINES", (Registration(make, "rounds"),))
    Relay(Options(run=tmp_path / "run", linger_s=0.0)).run()
    said = capsys.readouterr().err

    assert "export to the file of rounds failed (OSError: disk is full)" in said
    assert "the file of rounds failed; see above; 'esper-otel relay" in said
    assert "did not accept everything" not in said
