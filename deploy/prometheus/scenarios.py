"""The promtool tests of every alert, one timeline for all alerts of a scenario.

Each alert has an ``instance`` of its own on the timeline, so that a hundred alerts cost one evaluation of the rules.
Samples are 15 s apart, as scrapes are.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from deploy.prometheus.rule import alert_labels
from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from esper_otel.alerts.promql import sample_labels


class Check(msgspec.Struct, frozen=True):
    """Expected state of an alert at a time, in minutes from the start."""

    at: int
    fires: bool


class Scenario(msgspec.Struct, frozen=True):
    """Samples of a counter, and the times at which its alert must fire."""

    name: str
    values: str
    checks: tuple[Check, ...]


COUNTER_SCENARIOS: Final = (
    Scenario("one spike between two scrapes", "0x100 1x140", (Check(24, False), Check(26, True), Check(40, True))),
    Scenario("the series is born at its first count", "_x100 1x140", (Check(24, False), Check(26, True))),
    Scenario("it counts again after a reset", "3x140 0x20 1x100", (Check(34, False), Check(42, True))),
    Scenario("a reset alone is no count", "3x140 0x120", (Check(34, False), Check(42, False), Check(55, False))),
    Scenario("the count falls into a scrape gap of 8 minutes", "0x79 _x31 1x120", (Check(19, False), Check(29, True))),
    Scenario(
        "a restarted relay continues with its old count",
        "0x20 1x140 stale _x8 1x100",
        (Check(6, True), Check(44, False)),
    ),
    Scenario(
        "the first count after a restart of the relay", "3x140 stale _x8 3x2 4x80", (Check(36, False), Check(39, True))
    ),
    Scenario("a healthy run", "0x240", (Check(2, False), Check(20, False), Check(60, False))),
)


def promtool_tests(rule_files: tuple[str, ...]) -> dict[str, Any]:
    """The whole test file; ``rule_files`` are relative to it."""
    return {
        "rule_files": list(rule_files),
        "evaluation_interval": "30s",
        "tests": [
            _every("every alert fires", True),
            _every("no alert fires", False),
            *map(_counters, COUNTER_SCENARIOS),
        ],
    }


def _every(name: str, is_firing: bool) -> dict[str, Any]:
    cases = [(alert, alert.fires if is_firing else alert.quiet, (Check(alert.at, is_firing),)) for alert in ALERTS]
    return _test(name, cases)


def _counters(scenario: Scenario) -> dict[str, Any]:
    cases = [(alert, {alert.counter: scenario.values}, scenario.checks) for alert in ALERTS if alert.counter]
    return _test(scenario.name, cases)


def _test(name: str, cases: Sequence[tuple[Alert, dict[str, str], tuple[Check, ...]]]) -> dict[str, Any]:
    return {
        "name": name,
        "interval": "15s",
        "input_series": [
            {"series": text.replace('instance="run"', f'instance="{alert.name}"'), "values": values}
            for alert, given, _ in cases
            for text, values in given.items()
        ],
        "promql_expr_test": [_expectation(alert, check) for alert, _, checks in cases for check in checks],
    }


def _expectation(alert: Alert, check: Check) -> dict[str, Any]:
    expr = f'ALERTS{{alertname="{alert.name}", alertstate="firing", instance="{alert.name}"}}'
    labels = {"alertname": alert.name, "alertstate": "firing", **alert_labels(alert)}
    labels |= sample_labels(alert.by, instance=alert.name, **alert.sample)
    written = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    samples = [{"labels": f"ALERTS{{{written}}}", "value": 1}] if check.fires else []
    return {"expr": expr, "eval_time": f"{check.at}m", "exp_samples": samples}
