"""The diagnosis of a run while it goes on: what it reads in pieces is what the diagnosis of the whole log finds."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esper_otel.diagnosis import live
from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.live import LiveDiagnosis
from tests.diagnosis import made

FAULTS = {
    "healthy": made.policy(40),
    "exploded": made.policy(40, pre_clip_grad_norm=lambda n: 500.0 if n == 30 else 1.0),
    "nan": made.training(40, loss=lambda n: "NaN" if n > 20 else 1.0),
    "input": [made.line("TOLARIA_THROUGHPUT", n, step_time_ms=30.0, dataloader_wait_ms=20.0) for n in range(40)],
}


def kinds(found: dict) -> list[str]:
    return [each["kind"] for each in found["findings"]]


def scratch(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fault=st.sampled_from(sorted(FAULTS)), cuts=st.lists(st.integers(1, 39), max_size=3))
def test_a_log_read_in_pieces_gives_the_findings_of_the_whole(
    fault: str, cuts: list[int], tmp_path_factory: object
) -> None:
    directory = tmp_path_factory.mktemp("live")  # type: ignore[attr-defined]  # pytest's
    lines = FAULTS[fault]
    diagnosis = LiveDiagnosis(directory / "run", scratch(directory / "scratch"))
    for end in [*sorted(cuts), len(lines)]:
        run = made.run(directory / "run", lines[:end])
        found = diagnosis.findings()
    diagnosis.close()

    assert kinds(found) == [each.kind for each in diagnose(run).findings]
    assert (fault == "healthy") == (not found["findings"])


def test_what_an_earlier_session_did_is_not_found_again(tmp_path: Path) -> None:
    run = made.run(tmp_path / "run", FAULTS["exploded"], made.policy(60)[41:])
    diagnosis = LiveDiagnosis(run, scratch(tmp_path / "scratch"))
    assert kinds(diagnosis.findings()) == ["exploding_gradients"]

    (run / "run.json").write_text(json.dumps({"started_at": "2026-03-01T12:00:35Z"}))

    assert diagnosis.findings() == {"session": "2026-03-01T12:00:35Z", "findings": []}
    diagnosis.close()


def test_what_is_older_than_the_window_is_no_news(tmp_path: Path) -> None:
    late = timedelta(seconds=5000).total_seconds()
    after = [each | {"timestamp": made.line("", late + n)["timestamp"]} for n, each in enumerate(made.policy(60))]
    run = made.run(tmp_path / "run", FAULTS["exploded"])
    diagnosis = LiveDiagnosis(run, scratch(tmp_path / "scratch"))
    assert kinds(diagnosis.findings()) == ["exploding_gradients"]

    made.run(run, FAULTS["exploded"], [each | {"event_id": f"late-{n}"} for n, each in enumerate(after)])

    assert kinds(diagnosis.findings()) == []
    diagnosis.close()


def test_a_finding_brings_the_time_for_which_its_alert_holds(tmp_path: Path) -> None:
    run = made.run(tmp_path / "run", FAULTS["input"])
    diagnosis = LiveDiagnosis(run, scratch(tmp_path / "scratch"))
    (found,) = diagnosis.findings()["findings"]
    diagnosis.close()

    assert found["alert"] == "TolariaInputBound"
    assert live.BY_NAME["TolariaInputBound"].hold == f"{found['hold_s'] // 60}m"


def test_a_rank_that_its_relay_found_dead_is_missing_while_the_others_go_on(tmp_path: Path) -> None:
    died = [made.line("RUN_ENDED", 41, 1, outcome="died", reported_by="relay")]
    run = made.run(tmp_path / "run", made.training(60), made.training(40, rank=1))
    (run / "run.json").write_text(json.dumps({"started_at": "2026-03-01T12:00:00Z", "world_size": 2}))
    diagnosis = LiveDiagnosis(run, scratch(tmp_path / "scratch"))
    assert kinds(diagnosis.findings()) == [], "nobody holds its lock here, which may be another node's"

    made.run(run, made.training(60), made.training(40, rank=1), died)

    (found,) = diagnosis.findings()["findings"]
    assert (found["kind"], found["who"]) == ("rank_missing", {"rank": "1"})
    diagnosis.close()
