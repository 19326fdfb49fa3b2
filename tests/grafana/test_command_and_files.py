"""``esper-otel dashboards``, and the provisioning files that Grafana reads."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from esper_otel.cli import app
from grafana import files
from grafana.boards import HOME
from grafana.queries.facts import BY_PROMETHEUS_NAME
from tests.tools import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is generated."""
    for path in files.generated(ROOT):
        copied = tmp_path / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    return tmp_path


def test_what_is_committed_is_sound_and_current() -> None:
    checked = CliRunner().invoke(app, ["dashboards", "check"])

    assert (0, []) == (checked.exit_code, files.faults(ROOT)), checked.output


def test_a_dashboard_edited_by_hand_fails_the_check_until_it_is_built_again(checkout: Path) -> None:
    edited = checkout / "grafana" / "dashboards" / f"{HOME.uid}.json"
    edited.write_text(edited.read_text().replace('"editable": false', '"editable": true'))

    faults = files.faults(checkout)

    assert any("is stale or edited by hand" in fault for fault in faults)
    assert any("uneditable-dashboard" in fault for fault in faults)
    assert [edited] == files.write(checkout)
    assert [] == files.faults(checkout)


def test_a_dashboard_that_no_code_makes_fails_the_check(checkout: Path) -> None:
    (checkout / "grafana" / "dashboards" / "mine.json").write_text("{}")

    assert ["grafana/dashboards/mine.json belongs to no dashboard; remove it"] == files.faults(checkout)


def test_outside_a_checkout_the_command_says_where_to_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="grafana")

    monkeypatch.setattr(import_module("esper_otel.cli.dashboards"), "import_module", missing)
    answered = CliRunner().invoke(app, ["dashboards", "build"])

    assert 2 == answered.exit_code
    assert "run this in a checkout (grafana is missing)" in answered.output


def _provisioned(name: str) -> dict:
    return yaml.safe_load((ROOT / "grafana" / "provisioning" / name / "esper.yaml").read_text())


def _variables() -> dict[str, str]:
    lines = (ROOT / "grafana" / "provisioning" / "grafana.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_every_variable_of_the_provisioning_has_a_default() -> None:
    addresses = {source["url"] for source in _provisioned("datasources")["datasources"]}
    paths = {provider["options"]["path"] for provider in _provisioned("dashboards")["providers"]}

    assert {name.strip("${}") for name in addresses | paths} <= set(_variables())


def test_nobody_is_let_in_unasked() -> None:
    assert "false" == _variables()["GF_AUTH_ANONYMOUS_ENABLED"]
    assert not [name for name in _variables() if "PASSWORD" in name or "TOKEN" in name]


def test_data_sources_lead_from_metric_to_trace_to_log_event_and_back() -> None:
    sources = {source["uid"]: source for source in _provisioned("datasources")["datasources"]}
    tempo = sources["tempo"]["jsonData"]

    assert {"prometheus", "tempo", "loki", "alertmanager"} == set(sources)
    assert "tempo" == sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"][0]["datasourceUid"]
    assert "loki" == tempo["tracesToLogsV2"]["datasourceUid"]
    assert "prometheus" == tempo["tracesToMetrics"]["datasourceUid"]
    assert "tempo" == sources["loki"]["jsonData"]["derivedFields"][0]["datasourceUid"]
    assert {query["query"].split("{")[0] for query in tempo["tracesToMetrics"]["queries"]} <= set(BY_PROMETHEUS_NAME)


def test_the_home_dashboard_is_one_of_ours() -> None:
    home = Path(_variables()["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert (ROOT / "grafana" / "dashboards" / home.name).exists()
    assert str(home.parent) == _variables()["ESPER_DASHBOARDS"]
