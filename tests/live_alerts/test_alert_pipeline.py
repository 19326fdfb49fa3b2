"""The pipeline of the alerts: what counts as found, what is new, and receivers that are down, refuse or hang."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from esper_otel.relay.alerts import notify, pipeline
from esper_otel.relay.alerts.evaluator import Answer, Evaluator, Told
from esper_otel.relay.alerts.findings import FindingsLog
from esper_otel.relay.alerts.notify import Command, Notifier, Webhook
from esper_otel.relay.alerts.pipeline import AlertPipeline
from esper_otel.relay.checkpoint import StateDirectory
from tests.live_alerts.hook import findings_of, webhook
from tests.waiting import wait_for

SESSION = "2026-03-01T12:00:00Z"
RESOURCE = {"service.name": "esper", "service.instance.id": "run", "esper.run.id": "run"}


class Script(Evaluator):
    """Gives these answers, the last of them for good."""

    def __init__(self, *answers: list[Told], session: str = SESSION) -> None:
        super().__init__(Path("unused"))
        self.answers, self.session, self.asked = list(answers), session, 0

    def ask(self, is_cut: Callable[[], bool]) -> Answer:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Answer(session=self.session, findings=found)


def told(severity: str = "critical", confidence: str = "certain", hold_s: float = 0.0, rank: int = 0) -> Told:
    return Told(
        kind="input_bound",
        severity=severity,
        confidence=confidence,
        sentence=f"Rank {rank} waits.",
        alert="TolariaInputBound",
        who={"rank": str(rank)},
        meaning="It waits.",
        next_step="Look.",
        hold_s=hold_s,
    )


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "EVERY_S", 0.05)
    monkeypatch.setattr(pipeline, "RETRY_S", 0.01)


def made(
    directory: Path, script: Script, *receivers: Notifier, state: StateDirectory | None = None, follow: bool = False
) -> AlertPipeline:
    directory.mkdir(exist_ok=True)
    log = FindingsLog(directory, "run")
    return AlertPipeline(script, log, receivers, directory=state, resource=RESOURCE, follow=follow)


def ended(alerts: AlertPipeline) -> AlertPipeline:
    alerts.start()
    alerts.drain(is_over=True)
    wait_for(lambda: alerts.is_at_rest, "the end of the pipeline")
    return alerts


def grades(directory: Path) -> list[str]:
    return [each["data"]["grade"] for each in findings_of(directory)]


def test_a_notification_has_the_form_of_alertmanagers_webhook(tmp_path: Path) -> None:
    with webhook() as hook:
        ended(made(tmp_path, Script([told()]), Webhook(hook.url)))
    (payload,) = hook.taken
    (alert,) = payload["alerts"]

    assert payload["version"] == "4"
    assert {"groupKey", "truncatedAlerts", "receiver", "groupLabels", "externalURL"} <= set(payload)
    assert alert["status"] == payload["status"] == "firing"
    assert (
        alert["labels"]
        == payload["commonLabels"]
        == {
            "alertname": "TolariaInputBound",
            "severity": "critical",
            "kind": "input_bound",
            "job": "esper",
            "instance": "run",
            "esper_run_id": "run",
            "rank": "0",
        }
    )
    assert alert["annotations"]["summary"] == "Rank 0 waits."
    assert alert["startsAt"].endswith("Z")
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"


def test_what_was_found_before_is_neither_written_nor_sent_again_by_a_later_relay(tmp_path: Path) -> None:
    with webhook() as hook:
        for _ in range(3):
            state = StateDirectory(tmp_path / "relay")
            ended(made(tmp_path, Script([told()]), Webhook(hook.url), state=state))
            state.close()

    assert (grades(tmp_path), len(hook.taken)) == (["critical"], 1)


def test_a_finding_of_another_session_or_rank_and_one_that_got_worse_are_new(tmp_path: Path) -> None:
    warned = [told("warning")]
    ended(made(tmp_path, Script(warned)))
    ended(made(tmp_path, Script([*warned, told("warning", rank=1)])))
    ended(made(tmp_path, Script([told("critical")])))
    ended(made(tmp_path, Script(warned)))
    assert grades(tmp_path) == ["warning", "warning", "critical"]

    ended(made(tmp_path, Script(warned, session="2026-03-02T12:00:00Z")))
    assert grades(tmp_path) == ["warning", "warning", "critical", "warning"]


def test_a_finding_whose_phase_changes_is_the_same_finding(tmp_path: Path) -> None:
    slow = told("warning")
    for phase in ("", "backward", "data_wait"):
        who = {"rank": "0", "phase": phase}
        ended(made(tmp_path, Script([msgspec.structs.replace(slow, who=who)])))

    assert grades(tmp_path) == ["warning"]


def test_what_lasts_counts_when_it_lasted_and_what_is_recorded_at_once(tmp_path: Path) -> None:
    fleeting = told("warning", "high", rank=1)
    held = told("warning", "high", hold_s=3600.0, rank=2)
    lasting = told("warning", "high", rank=3)
    script = Script([told(), fleeting, held, lasting], [held, lasting], [held, lasting], [])
    alerts = made(tmp_path, script, follow=True)
    alerts.start()
    wait_for(lambda: script.asked > 4, "five evaluations")
    ended(alerts)

    assert [each["data"]["who"]["rank"] for each in findings_of(tmp_path)] == ["0", "3"]


def test_info_is_written_and_not_sent_and_a_thousand_of_a_kind_are_no_thousand_messages(tmp_path: Path) -> None:
    with webhook() as hook:
        ended(made(tmp_path / "a", Script([told("info")]), Webhook(hook.url)))
        many = [told("warning", rank=rank) for rank in range(1000)]
        ended(made(tmp_path / "b", Script(many), Webhook(hook.url)))

    assert grades(tmp_path / "a") == ["info"]
    assert len(hook.taken) == len(findings_of(tmp_path / "b")) == pipeline.MOST_OF_A_KIND


def test_a_receiver_that_is_down_is_asked_five_times_and_the_next_relay_goes_on(tmp_path: Path) -> None:
    with webhook(503) as hook:
        alerts = ended(made(tmp_path, Script([told()]), Webhook(hook.url)))
        assert hook.requests == alerts.failed == pipeline.ATTEMPTS
    assert (alerts.refused, alerts.exported, alerts.has_delivered) == (1, 0, True)
    assert "HTTP status 503" in alerts.last_error
    with webhook(503, 429, 200) as hook:
        alerts = ended(made(tmp_path, Script([told()]), Webhook(hook.url)))
        assert (hook.requests, alerts.exported) == (3, 1)
    assert grades(tmp_path) == ["critical"]


@pytest.mark.parametrize("status", [404, 302])
def test_a_receiver_that_refuses_or_redirects_is_asked_once(status: int, tmp_path: Path) -> None:
    with webhook(status) as hook:
        alerts = ended(made(tmp_path, Script([told()]), Webhook(hook.url)))

    assert (hook.requests, alerts.refused) == (1, 1)


def test_no_secret_of_an_address_is_in_a_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alerts = made(tmp_path, Script([told()]), Webhook("http://me:hunter2@127.0.0.1:9/x?token=hunter2"))
    said = alerts.describe() + ended(alerts).last_error + capfd.readouterr().err

    assert "gave up a notification" in said
    assert "hunter2" not in said


def test_a_command_reads_the_same_json_without_a_shell(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    ended(made(tmp_path, Script([told()]), Command([sys.executable, "-c", code, f"{tmp_path}/$HOME; true"])))

    payload = json.loads((tmp_path / "$HOME; true").read_text())
    assert payload["commonLabels"]["kind"] == "input_bound"


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_S", 0.3)
    with pytest.raises(OSError, match="did not end within"):
        Command(["sh", "-c", f"sh -c 'sleep 5; touch {tmp_path}/late' & sleep 60"]).send(b"{}")
    time.sleep(6.0)

    assert not (tmp_path / "late").exists()
    with pytest.raises(OSError, match="exit status 3"):
        Command(["sh", "-c", "exit 3"]).send(b"{}")


def test_a_line_that_a_killed_relay_left_unfinished_spoils_no_later_one(tmp_path: Path) -> None:
    ended(made(tmp_path, Script([told(rank=1)])))
    path = tmp_path / "findings.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event_id":"run-fin')
    ended(made(tmp_path, Script([told(rank=2)])))

    found = FindingsLog(tmp_path, "run").read()
    assert [each.event.who for each in found] == [{"rank": "1"}, {"rank": "2"}]


def test_a_log_of_another_program_gets_no_file(tmp_path: Path) -> None:
    with webhook() as hook:
        log = FindingsLog(None, "run")
        alerts = AlertPipeline(
            Script([told()]), log, [Webhook(hook.url)], directory=None, resource=RESOURCE, follow=False
        )
        ended(alerts)

    assert len(hook.taken) == 1
    assert list(tmp_path.iterdir()) == []
