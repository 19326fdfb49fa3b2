"""The command ``diagnose``: exit status by severity, text, JSON, and the last part of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from esper_otel.cli.commands import app_of
from tests.diagnosis.made import policy, run, training


def asked(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app_of(["diagnose"]), ["diagnose", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("loss", "status"), [(lambda n: 1.0, 0), (lambda n: 1.0 if n < 30 else 9.0, 3), (lambda n: "NaN", 4)]
)
def test_the_exit_status_tells_the_worst_severity(loss: object, status: int, tmp_path: Path) -> None:
    directory = run(tmp_path / "run", training(loss=loss))

    assert asked(str(directory))[0] == status


def test_a_finding_says_its_evidence_what_it_means_and_what_to_do(tmp_path: Path) -> None:
    directory = run(tmp_path / "run", policy(pre_clip_grad_norm=lambda n: 500.0 if n == 7 else 1.0))

    text = asked(str(directory))[1]

    assert "1. CRITICAL (certain)  The gradient norm exploded in 1 of 60 updates, to 500." in text
    assert "evidence largest norm before clipping 500, median norm 1" in text
    assert "when     round 8, 2026-03-01 12:00:07 UTC" in text
    assert "runbook  docs/reference/runbook.md#tamiyogradnormexploded" in text


def test_json_has_the_same_findings_with_meaning_and_next_step(tmp_path: Path) -> None:
    directory = run(tmp_path / "run", training(loss=lambda n: "NaN"))

    (finding,) = json.loads(asked(str(directory), "--json")[1])["findings"]

    assert finding["kind"] == "non_finite"
    assert finding["severity"] == "critical"
    assert finding["meaning"]
    assert finding["next_step"]


def test_since_looks_at_the_end_of_the_run_alone(tmp_path: Path) -> None:
    directory = run(tmp_path / "run", training(loss=lambda n: "NaN" if n == 5 else 1.0))

    assert asked(str(directory), "--since", "30s")[0] == 0
    assert asked(str(directory), "--since", "2m")[0] == 4


@pytest.mark.parametrize("span", ["soon", "5", "-3m", "5 weeks"])
def test_a_span_that_is_none_is_one_clear_error(span: str, tmp_path: Path) -> None:
    status, _, error = asked(str(run(tmp_path / "run", training())), f"--since={span}")

    assert status == 2
    assert f"--since: {span!r} is not a span of time" in error
