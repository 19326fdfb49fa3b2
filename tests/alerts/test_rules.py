"""promtool's verdict on the rules: they are valid, and every alert fires when it must and only then."""

from __future__ import annotations

from pathlib import Path

from deploy.prometheus import scenarios
from deploy.prometheus.alerts import ALERTS
from deploy.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.tools import ROOT

RULES = ROOT / "deploy" / "prometheus"
NEWBORN = scenarios.COUNTER_SCENARIOS[1]


def test_promtool_has_no_complaint_about_the_rules() -> None:
    status, said = promtool("check", "rules", RULES / "rules.yml", RULES / "recording.yml")

    assert (0, f"SUCCESS: {len(ALERTS)} rules found") == (status, said.splitlines()[1].strip())


def test_every_alert_fires_when_it_must_and_only_then() -> None:
    assert (0, "SUCCESS") == succeeded(promtool("test", "rules", RULES / "tests.yml"))


def test_the_tests_cover_every_alert_both_ways_and_every_counter_in_every_scenario() -> None:
    firing, quiet, *counters = scenarios.promtool_tests(())["tests"]

    assert [True] * len(ALERTS) == [bool(check["exp_samples"]) for check in firing["promql_expr_test"]]
    assert [False] * len(ALERTS) == [bool(check["exp_samples"]) for check in quiet["promql_expr_test"]]
    assert [scenario.name for scenario in scenarios.COUNTER_SCENARIOS] == [test["name"] for test in counters]
    assert all(len(test["input_series"]) == sum(bool(alert.counter) for alert in ALERTS) for test in counters)


def test_without_the_arm_for_newborn_series_the_tests_fail(tmp_path: Path) -> None:
    text = (RULES / "rules.yml").read_text(encoding="utf-8")
    (tmp_path / "rules.yml").write_text(text.replace(" offset 15m) > 0)", " offset 15m) > 1e9)"))
    (tmp_path / "tests.yml").write_text(newborn_tests())

    status, said = promtool("test", "rules", tmp_path / "tests.yml")

    assert status != 0
    assert "TamiyoGradNormExploded" in said


def test_with_it_the_same_tests_succeed(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text((RULES / "rules.yml").read_text(encoding="utf-8"))
    (tmp_path / "tests.yml").write_text(newborn_tests())

    assert (0, "SUCCESS") == succeeded(promtool("test", "rules", tmp_path / "tests.yml"))


def newborn_tests() -> str:
    every = scenarios.promtool_tests(("rules.yml",))
    return to_yaml({**every, "tests": [test for test in every["tests"] if test["name"] == NEWBORN.name]})


def succeeded(result: tuple[int, str]) -> tuple[int, str]:
    status, said = result
    return status, "SUCCESS" if "SUCCESS" in said and "FAILED" not in said else said
