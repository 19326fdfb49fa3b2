"""Whether the shipped rules fire on series that a test has measured, judged by promtool."""

from __future__ import annotations

from pathlib import Path

from esper_otel.alerts.collector import TELEMETRY
from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.collector.collectors import Telemetry
from tests.tools import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
SCRAPES = 20
"""How many scrapes, 15 s apart, are shown before and after."""


def fired_on(directory: Path, alert: str, before: Telemetry, after: Telemetry) -> bool:
    """Whether ``alert`` fires when scrapes see ``before`` for a while and then ``after``."""
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": _series(before, after),
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) > 0',
                        "eval_time": f"{(SCRAPES + 4) * 15}s",
                        "exp_samples": [],
                    }
                ],
            }
        ],
    }
    file = directory / f"{alert}.yml"
    file.write_text(to_yaml(test))
    status, said = promtool("test", "rules", file)
    assert "expr" in said or status == 0, said
    return status != 0


def _series(before: Telemetry, after: Telemetry) -> list[dict[str, str]]:
    earlier, later = (_values(telemetry) for telemetry in (before, after))
    shown = []
    for name in earlier | later:
        first = f"{earlier[name]:.0f}x{SCRAPES - 1}" if name in earlier else f"_x{SCRAPES}"
        second = f"{later[name]:.0f}x{SCRAPES}" if name in later else f"_x{SCRAPES}"
        shown.append({"series": name, "values": f"{first} {second}"})
    return shown


def _values(telemetry: Telemetry) -> dict[str, float]:
    return {
        f'{name}{{job="esper-collector",instance="gateway-0",{_written(labels)}}}': value
        for name, labels, value in telemetry.samples
        if name in TELEMETRY
    }


def _written(labels: dict[str, str]) -> str:
    return ",".join(f'{label}="{value}"' for label, value in labels.items())


def watched_names(telemetry: Telemetry) -> set[str]:
    """Names of the table of alerts that are served; each must have the labels that the table says."""
    seen = [(name, labels) for name, labels, _ in telemetry.samples if name in TELEMETRY]
    assert [] == [(name, labels) for name, labels in seen if not set(TELEMETRY[name]) <= set(labels)]
    return {name for name, _ in seen}
