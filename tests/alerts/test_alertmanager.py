"""amtool's verdict on the routes, and a real Alertmanager's on what is silenced."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.alertmanager.build import CHAT_URL, PAGER_KEY, configuration, ways_from
from deploy.prometheus.rule import alert_labels
from esper_otel.alerts import ALERTS
from esper_otel.alerts.promql import sample_labels
from grafana.yaml_text import to_yaml
from tests.alerts.alerting import alertmanager_to, webhook
from tests.tools import ROOT, tool
from tests.waiting import PATIENCE_S, wait_for

CONFIGURATION = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
BY_NAME = {alert.name: alert for alert in ALERTS}


def amtool(*arguments: str) -> tuple[int, str]:
    ended = subprocess.run([tool("amtool"), *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    return ended.returncode, ended.stdout.strip()


def test_amtool_has_no_complaint_about_the_configuration() -> None:
    status, said = amtool("check-config", str(CONFIGURATION))

    assert status == 0
    assert "SUCCESS" in said


def test_amtool_has_no_complaint_about_one_whose_receivers_come_from_the_environment(tmp_path: Path) -> None:
    for name in (PAGER_KEY, CHAT_URL):
        (tmp_path / name).write_text("https://example.invalid/key")
    environ = {
        "ESPER_ALERT_SECRETS": str(tmp_path),
        "ESPER_ALERT_WEBHOOK_URL": "http://127.0.0.1:9/alerts",
        "ESPER_ALERT_WEBHOOK_TOKEN_FILE": str(tmp_path / "token"),
    }
    file = tmp_path / "alertmanager.yml"
    file.write_text(to_yaml(configuration(ways_from(environ))))

    assert amtool("check-config", str(file))[0] == 0
    assert 2 == file.read_text().count("routing_key_file:")
    assert 4 == file.read_text().count("api_url_file:")
    assert 4 == file.read_text().count("credentials_file:")


def test_a_receiver_without_its_secret_is_left_out(tmp_path: Path) -> None:
    text = to_yaml(configuration(ways_from({"ESPER_ALERT_SECRETS": str(tmp_path)})))

    assert "_file:" not in text


def test_no_secret_stands_in_the_configuration() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]

    assert not any(line.startswith(("routing_key:", "api_url:", "url:", "credentials:", "password:")) for line in lines)


@pytest.mark.parametrize(("domain", "severity"), sorted({(alert.domain, alert.severity) for alert in ALERTS}))
def test_an_alert_reaches_the_team_of_its_domain_and_only_a_critical_one_wakes_it(domain: str, severity: str) -> None:
    team = "platform" if domain in {"esper", "gpu"} else "training"
    expected = {"critical": f"{team}-page", "warning": f"{team}-chat", "info": "nobody"}[severity]
    labels = [f"severity={severity}", f"domain={domain}"]

    assert (0, expected) == amtool("config", "routes", "test", f"--config.file={CONFIGURATION}", *labels)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tool("prometheus-alertmanager")
    with webhook() as hook, alertmanager_to(hook, tmp_path_factory.mktemp("alertmanager"), "token") as found:
        yield found


def fired(name: str, run: str) -> dict[str, str]:
    """Labels of an alert that fires in a run."""
    alert = BY_NAME[name]
    return {"alertname": name, **alert_labels(alert), **sample_labels(alert.by, instance=run, **alert.sample)}


def states_when(address: str, alerts: list[dict[str, str]], silenced: dict[str, str]) -> list[str]:
    """State of each of ``alerts`` at the moment when ``silenced``, which fires with them, is suppressed."""
    request = urllib.request.Request(
        f"http://{address}/api/v2/alerts",
        data=json.dumps([{"labels": labels} for labels in (*alerts, silenced)]).encode(),
        headers={"Content-Type": "application/json"},
    )
    wait_for(lambda: _answered(request), "the server's start")

    def states() -> list[str] | None:
        with urllib.request.urlopen(f"http://{address}/api/v2/alerts", timeout=PATIENCE_S) as response:
            known = [(alert["labels"], alert["status"]["state"]) for alert in json.load(response)]
        if (silenced, "suppressed") not in known:
            return None
        return [state for labels in alerts for other, state in known if other == labels]

    found: list[str] = wait_for(states, f"the silence of {silenced['alertname']}")
    return found


def _answered(request: urllib.request.Request) -> bool:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("end", ["EsperRunDied", "EsperRunFailed", "EsperRunVanished"])
@pytest.mark.parametrize("symptom", [alert.name for alert in ALERTS if alert.is_symptom])
def test_the_end_of_a_run_silences_its_symptoms(address: str, end: str, symptom: str) -> None:
    run = f"{end}-{symptom}"

    assert ["active"] == states_when(address, [fired(end, run)], fired(symptom, run))


def test_the_end_of_a_run_does_not_silence_what_may_have_caused_it(address: str) -> None:
    alerts = [
        fired("EsperRunDied", "cause"),
        fired("TamiyoGradNormExploded", "cause"),
        fired("GpuXidHardware", "cause"),
    ]

    assert ["active"] * 3 == states_when(address, alerts, fired("EsperHeartbeatLost", "cause"))


def test_the_end_of_a_run_silences_nothing_of_another_run(address: str) -> None:
    alerts = [fired("EsperRunDied", "dead"), fired("EsperHeartbeatLost", "alive")]

    assert ["active"] * 2 == states_when(address, alerts, fired("EsperHeartbeatLost", "dead"))


def test_a_critical_alert_silences_the_lesser_one_of_its_concern_and_no_other(address: str) -> None:
    alerts = [fired("TamiyoGradNormExploded", "concern"), fired("TamiyoKlHigh", "concern")]

    assert ["active"] * 2 == states_when(address, alerts, fired("TamiyoGradNormHigh", "concern"))


def test_a_critical_alert_of_one_arm_does_not_silence_the_other_arm(address: str) -> None:
    other_arm = {**fired("TamiyoGradNormHigh", "arms"), "group_id": "B"}

    assert ["active"] * 2 == states_when(
        address, [fired("TamiyoGradNormExploded", "arms"), other_arm], fired("TamiyoGradNormHigh", "arms")
    )
