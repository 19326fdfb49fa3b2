"""An expression of a dashboard, asked of promtool over made samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.grafana.substituted import lines


def verdict(directory: Path, asked: str, given: Mapping[str, str], found: Mapping[str, float], at: str = "10m") -> str:
    """Report of promtool on an expression that should find ``found``: value by labels."""
    check = {
        "expr": asked,
        "eval_time": at,
        "exp_samples": [{"labels": labels, "value": value} for labels, value in found.items()],
    }
    samples = [{"series": name, "values": values} for name, values in given.items()]
    file = directory / "asked.yml"
    file.write_text(to_yaml({"tests": [{"interval": "15s", "input_series": samples, "promql_expr_test": [check]}]}))
    return promtool("test", "rules", file)[1]


def assert_finds(
    directory: Path, panel: str, column: str, given: Mapping[str, str], found: Mapping[str, float]
) -> None:
    """Ask for a line of a panel ten minutes after the first sample, and compare all results."""
    asked = next(one for one in lines() if one.panel == panel and one.legend == column)
    report = verdict(directory, asked.filled(job="esper", instance="run"), given, found)
    assert "SUCCESS" in report, report
