"""A trainer that obeys: should_stop() is true once the relay found something critical about this session."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import esper_otel
from esper_otel.runtime.advice import Advice
from tests.live_alerts.hook import findings_of
from tests.relay.processes import lines_of, process
from tests.waiting import PATIENCE_S, own_time_s

SESSION = "2026-03-01T12:00:00Z"


def run_of(directory: Path) -> Path:
    (directory / "run.json").write_text(json.dumps({"started_at": SESSION}))
    return directory


def finding(*, age_s: float = -1.0, session: str | None = SESSION, stops: bool = True) -> str:
    moment = datetime.fromtimestamp(time.time() - age_s, UTC).isoformat()
    data = {"kind": "non_finite", "sentence": "NaN.", "session": session, "stops": stops}
    return json.dumps({"event_type": "FINDING", "timestamp": moment, "data": data}) + "\n"


def test_a_training_process_with_alerts_stops_itself_and_the_finding_is_no_sign_of_its_life(tmp_path: Path) -> None:
    with process("-m", "tests.live_alerts.obedient_child", str(tmp_path), ESPER_OTEL_ALERTS="1") as child:
        said, errors = child.communicate(timeout=PATIENCE_S)

    assert said == "stopped\n", errors
    assert "critical finding: The gradient norm exploded" in errors
    assert findings_of(tmp_path / "run")[0]["data"]["kind"] == "exploding_gradients"
    numbers = [line["seq"] for line in lines_of(tmp_path / "run")]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("line", "stops"),
    [
        (finding, True),
        (lambda: finding(stops=False), False),
        (lambda: finding(age_s=60.0), False),
        (lambda: finding(session="2026-02-01T00:00:00Z"), False),
        (lambda: "{" + finding(), False),
        (lambda: finding().rstrip("\n"), False),
    ],
    ids=["critical", "not critical", "before this process", "another session", "torn", "half written"],
)
def test_only_a_critical_finding_of_this_session_says_so(line: Callable[[], str], stops: bool, tmp_path: Path) -> None:
    advice = Advice()
    (run_of(tmp_path) / "findings.jsonl").write_text(finding(stops=False) + line())
    advice.look(tmp_path)

    assert bool(advice.reason) is stops


def test_a_line_that_was_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    advice, line = Advice(), finding()
    path = run_of(tmp_path) / "findings.jsonl"
    for end in (10, len(line) - 1):
        path.write_text(line[:end])
        advice.look(tmp_path)
        assert not advice.reason
    path.write_text(line)
    advice.look(tmp_path)

    assert advice.reason == "NaN."


def test_without_a_run_it_is_false_and_cheap(tmp_path: Path) -> None:
    assert esper_otel.should_stop() is False
    esper_otel.configure(telemetry_dir=tmp_path, relay=False)
    begun = own_time_s()
    for _ in range(10_000):
        assert not esper_otel.should_stop()
    took_s = own_time_s() - begun
    esper_otel.shutdown()

    assert took_s / 10_000 < 20e-6
