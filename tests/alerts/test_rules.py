"""promtool's verdict on the rules: they are valid, and every alert fires when it must and only then."""

from __future__ import annotations

from pathlib import Path

from deploy.prometheus import scenarios
from esper_otel.alerts import ALERTS
from esper_otel.alerts.promql import series
from grafana.yaml_text import to_yaml
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


def test_a_recording_rule_holds_what_its_name_says(tmp_path: Path) -> None:
    arm = {"job": "esper", "instance": "run", "group_id": "default"}
    rate = {"labels": f"arm:tamiyo_updates:rate5m{written(arm)}", "value": 0.2}
    power = {"labels": 'run:hw_power_watts:sum{job="esper", instance="run"}', "value": 700}
    file = tmp_path / "tests.yml"
    file.write_text(
        to_yaml(
            {
                "rule_files": [str(RULES / "recording.yml")],
                "evaluation_interval": "30s",
                "tests": [
                    {
                        "interval": "15s",
                        "input_series": [
                            {"series": series("tamiyo.updates", rank="0"), "values": "0+1x40"},
                            {"series": series("tamiyo.updates", rank="1"), "values": "0+2x40"},
                            {"series": series("hw.power", device="cuda:0"), "values": "300x40"},
                            {"series": series("hw.power", device="cuda:1"), "values": "400x40"},
                        ],
                        "promql_expr_test": [
                            {"expr": "arm:tamiyo_updates:rate5m", "eval_time": "8m", "exp_samples": [rate]},
                            {"expr": "run:hw_power_watts:sum", "eval_time": "8m", "exp_samples": [power]},
                        ],
                    }
                ],
            }
        )
    )

    assert (0, "SUCCESS") == succeeded(promtool("test", "rules", file))


def written(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
