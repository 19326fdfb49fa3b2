"""The relay's own alerts, by real processes: each finding once, in the log and at the receiver."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from esper_otel.cli.commands import app_of
from esper_otel.diagnosis.reported import findings_in
from esper_otel.relay.alerts.setup import alert_options
from esper_otel.sql import connect
from tests.live_alerts.hook import exploded, findings_of, webhook
from tests.relay.processes import relay
from tests.waiting import PATIENCE_S


def relayed(run: Path, *options: str, **env: str) -> tuple[int, str]:
    with relay(run, *options, **env) as child:
        _, said = child.communicate(timeout=PATIENCE_S)
        return child.returncode, said


def test_a_finding_is_in_the_log_and_is_sent_once_however_often_a_relay_runs(tmp_path: Path) -> None:
    run = exploded(tmp_path / "run")
    before = (run / "events.jsonl").read_bytes()
    with webhook() as hook:
        first = relayed(run, "--linger", "0", "--alert-webhook", hook.url)
        relayed(run, "--linger", "0", "--alert-webhook", hook.url)

    assert first[0] == 0, first[1]
    assert [each["data"]["kind"] for each in findings_of(run)] == ["exploding_gradients"]
    assert hook.names() == ["TamiyoGradNormExploded"]
    assert (run / "events.jsonl").read_bytes() == before, "the segments of a rank are its process's own"
    with connect([run], views=["finding"]) as connection:
        rows = connection.execute("SELECT run_id, kind, grade, who['rank'], stops FROM finding").fetchall()
    assert rows == [("run", "exploding_gradients", "critical", "0", True)]
    found = json.loads(CliRunner().invoke(app_of(["alerts"]), ["alerts", str(run), "--json", "--since", "1d"]).stdout)
    assert [each["session"] for each in found] == ["2026-03-01T12:00:00Z"]
    assert found[0]["next_step"]


def test_the_command_says_that_nothing_was_found_and_refuses_what_is_no_run(tmp_path: Path) -> None:
    assert findings_in(exploded(tmp_path / "run")) == []
    done = CliRunner().invoke(app_of(["alerts"]), ["alerts", str(tmp_path / "run")])
    assert "No findings in the log" in done.stdout
    assert CliRunner().invoke(app_of(["alerts"]), ["alerts", str(tmp_path / "none")]).exit_code == 2


@pytest.mark.parametrize(
    ("webhook", "command", "said"),
    [
        ("localhost:9", None, "expected an address such as"),
        ("http://[", None, "expected an address such as"),
        (None, "no-such-program x", "there is no program 'no-such-program'"),
        (None, "echo 'x", "--alert-command"),
    ],
)
def test_a_receiver_that_cannot_work_is_refused(webhook: str | None, command: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        alert_options(is_asked=False, webhook=webhook, command=command, environment={})


def test_options_come_before_variables_and_a_receiver_asks_for_alerts() -> None:
    variables = {"ESPER_OTEL_ALERT_WEBHOOK": "http://b/x", "ESPER_OTEL_ALERTS": "0"}
    given = alert_options(is_asked=False, webhook="http://a/x", command=None, environment=variables)
    told = alert_options(is_asked=False, webhook=None, command="echo 'a b'", environment=variables)

    assert given is not None
    assert given.webhook == "http://a/x"
    assert told is not None
    assert (told.webhook, told.command) == ("http://b/x", ("echo", "a b"))
    assert alert_options(is_asked=False, webhook=None, command=None, environment={}) is None
    assert alert_options(is_asked=False, webhook=None, command=None, environment={"ESPER_OTEL_ALERTS": "1"}) is not None
