"""The built dashboards: linted, current, and linked to the alerts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from esper_otel.alerts import ALERTS
from grafana.boards import BOARDS, HOME
from grafana.build import DIRECTORY, dashboard_files
from grafana.layout.board import OF_LOGS_AND_TRACES, Board
from grafana.links import alert_panels
from grafana.lint import problems, problems_between
from grafana.panels.panel import panel_id
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


def _chart(dashboard: dict[str, Any]) -> dict[str, Any]:
    return next(panel for panel in panels_of(dashboard) if panel["type"] == "timeseries")


def _number(dashboard: dict[str, Any]) -> dict[str, Any]:
    return next(panel for panel in panels_of(dashboard) if panel["type"] == "stat")


def _fixed_rate(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["targets"][0]["expr"] = 'rate(x_total{job=~"$job",instance=~"$instance"}[5m])'


def _over_gaps(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["fieldConfig"]["defaults"]["custom"]["spanNulls"] = True


def _arms_on_each_other(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["fieldConfig"]["defaults"]["custom"]["stacking"] = {"mode": "normal", "group": "A"}


def _bars_from_the_least(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["type"] = "bargauge"


def _unsorted(dashboard: dict[str, Any]) -> None:
    _asks(dashboard, "loki")["transformations"] = []


def _whichever_come_first(dashboard: dict[str, Any]) -> None:
    target = _asks(dashboard, "tempo")["targets"][0]
    target["query"] = target["query"].replace("most_recent=true", "")


def _asks(dashboard: dict[str, Any], kind: str) -> dict[str, Any]:
    tables = (panel for panel in panels_of(dashboard) if panel["type"] == "table")
    return next(panel for panel in tables if panel["targets"][0]["datasource"]["type"] == kind)


def _exemplars_of_a_gauge(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["targets"][0] |= {"exemplar": True, "expr": 'x{job=~"$job",instance=~"$instance"}'}


def _last_step(dashboard: dict[str, Any]) -> None:
    _number(dashboard)["targets"][0]["instant"] = False


def _of_the_range(dashboard: dict[str, Any]) -> None:
    _number(dashboard)["targets"][0]["expr"] = 'last_over_time(x{job=~"$job",instance=~"$instance"}[$__range])'


def _zero_of_nothing(dashboard: dict[str, Any]) -> None:
    _number(dashboard)["targets"][0]["expr"] = 'sum(x{job=~"$job",instance=~"$instance"}) or vector(0)'


def _green_nothing(dashboard: dict[str, Any]) -> None:
    _number(dashboard)["fieldConfig"]["defaults"]["mappings"] = []


def _healthy_emptiness(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["fieldConfig"]["defaults"]["noValue"] = "No round had an anomaly."


def _long_title(dashboard: dict[str, Any]) -> None:
    panels_of(dashboard)[0]["title"] = "State of the run that was chosen above"


def _hole(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["gridPos"]["w"] -= 1


def _arms_in_a_strip(dashboard: dict[str, Any]) -> None:
    lines = " or ".join(f'label_replace(x, "line", "{number}", "", "")' for number in range(5))
    _number(dashboard)["targets"][0] |= {"expr": lines, "legendFormat": "{{line}} · {{group_id}}"}


def _no_place_for_zero(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["fieldConfig"]["defaults"]["custom"]["scaleDistribution"] = {"type": "log", "log": 10}


def _zeros_up_to_100(dashboard: dict[str, Any]) -> None:
    _chart(dashboard)["fieldConfig"]["defaults"] |= {"unit": "s"}


def _cut_header(dashboard: dict[str, Any]) -> None:
    next(panel for panel in panels_of(dashboard) if panel["type"] == "table")["fieldConfig"]["overrides"] = []


def _same_id(dashboard: dict[str, Any]) -> None:
    panels_of(dashboard)[1]["id"] = panels_of(dashboard)[0]["id"]


def _editable(dashboard: dict[str, Any]) -> None:
    dashboard["editable"] = True


def _never_refreshed(dashboard: dict[str, Any]) -> None:
    del dashboard["timepicker"]


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (_never_refreshed, "refresh: '15s' is none of"),
        (_without_description, "panel-title-description-rule"),
        (_fixed_source, "panel-datasource-rule"),
        (_moved, "no-overlap"),
        (_fixed_rate, "target-rate-interval-rule"),
        (_same_id, "unique-id"),
        (_editable, "uneditable-dashboard"),
        (_over_gaps, "gaps: "),
        (_arms_on_each_other, "stacks arms on each other"),
        (_bars_from_the_least, "draws what is no count as bars"),
        (_unsorted, "shows rows in the order in which they arrive"),
        (_whichever_come_first, "shows whichever spans are found first"),
        (_exemplars_of_a_gauge, "exemplars: "),
        (_last_step, "shows the last step of a range"),
        (_of_the_range, "depends on the time shown"),
        (_zero_of_nothing, "makes a 0 of nothing"),
        (_green_nothing, "has no grey for a number that is not there"),
        (_long_title, "titles: "),
        (_hole, "lines: "),
        (_arms_in_a_strip, "arms: "),
        (_zeros_up_to_100, "zeros: "),
        (_no_place_for_zero, "logarithm: "),
        (_cut_header, "headers: "),
        (_healthy_emptiness, "asserts something of data that it does not have"),
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


@pytest.mark.parametrize("uid", sorted(built()))
def test_what_needs_loki_or_tempo_is_in_one_closed_row(uid: str) -> None:
    needy = {
        row["title"]
        for row in built()[uid]["panels"]
        for panel in (row, *row.get("panels", ()))
        for target in panel.get("targets", ())
        if target["datasource"]["type"] != "prometheus"
    }

    assert needy <= {OF_LOGS_AND_TRACES}
    assert all(row["collapsed"] for row in built()[uid]["panels"] if row["title"] == OF_LOGS_AND_TRACES)
