"""The built dashboards: linted, current, and linked to the alerts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from deploy.prometheus.alerts import ALERTS
from esper_otel.signals import SIGNALS
from grafana.alert_panels import alert_panels
from grafana.board import Board
from grafana.boards import BOARDS, HOME
from grafana.build import DIRECTORY, dashboard_files
from grafana.facts import limits_of
from grafana.limits import SCREEN_LIMITS
from grafana.lint import problems, problems_between
from grafana.panel import panel_id
from tests.grafana.substituted import built, panels_of
from tests.tools import ROOT


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_keeps_the_rules_of_the_linter(board: Board) -> None:
    assert [] == problems(built()[board.uid])


def test_the_dashboards_are_those_of_the_code() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / DIRECTORY).glob("*.json")}

    assert dashboard_files() == on_disk
    assert [] == problems_between(list(built().values()))


def _without_description(dashboard: dict[str, Any]) -> None:
    panels_of(dashboard)[0]["description"] = ""


def _fixed_source(dashboard: dict[str, Any]) -> None:
    panels_of(dashboard)[0]["targets"][0]["datasource"]["uid"] = "prometheus"


def _moved(dashboard: dict[str, Any]) -> None:
    panels_of(dashboard)[1]["gridPos"] = panels_of(dashboard)[0]["gridPos"]


def _fixed_rate(dashboard: dict[str, Any]) -> None:
    panels_of(dashboard)[0]["targets"][0]["expr"] = 'rate(x_total{job=~"$job",instance=~"$instance"}[5m])'


def _same_id(dashboard: dict[str, Any]) -> None:
    panels_of(dashboard)[1]["id"] = panels_of(dashboard)[0]["id"]


def _editable(dashboard: dict[str, Any]) -> None:
    dashboard["editable"] = True


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (_without_description, "panel-title-description-rule"),
        (_fixed_source, "panel-datasource-rule"),
        (_moved, "no-overlap"),
        (_fixed_rate, "target-rate-interval-rule"),
        (_same_id, "unique-id"),
        (_editable, "uneditable-dashboard"),
    ],
)
def test_a_broken_rule_is_named(damage: Any, rule: str) -> None:
    dashboard = copy.deepcopy(built()[HOME.uid])
    damage(dashboard)

    assert any(rule in found for found in problems(dashboard))


def test_a_panel_keeps_its_id_whatever_stands_around_it() -> None:
    ids = {panel["title"]: panel["id"] for panel in panels_of(built()[HOME.uid])}

    assert {panel.title: panel_id(HOME.uid, panel.key) for panel in HOME.panels} == ids


def test_every_alert_has_a_panel_on_the_dashboard_that_it_links_to() -> None:
    panels = alert_panels()
    uids = {board.uid for board in BOARDS}
    linked = {alert.name: f"esper-{alert.domain}" for alert in ALERTS if f"esper-{alert.domain}" in uids}

    assert linked == {name: uid for name, (uid, _) in panels.items()}
    for uid, number in panels.values():
        assert number in {panel["id"] for panel in panels_of(built()[uid])}


def test_the_alert_of_a_norm_that_is_not_finite_leads_to_the_count_of_them() -> None:
    uid, number = alert_panels()["TamiyoNonFiniteUpdate"]
    (title,) = (panel["title"] for panel in panels_of(built()[uid]) if panel["id"] == number)

    assert "Updates beyond a critical limit, since the run began" == title


def test_a_signal_whose_violations_are_counted_has_no_second_limits() -> None:
    counted = {
        signal.name
        for signal in SIGNALS
        for other in SIGNALS
        if other.threshold is not None and (other.event, other.path) == (signal.event, signal.path)
    }

    assert set() == counted & set(SCREEN_LIMITS)
    assert all(limits_of(name) is not None for name in SCREEN_LIMITS)
