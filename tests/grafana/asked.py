"""One line of a panel, asked of promtool over made samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.grafana.substituted import lines


def assert_finds(
    directory: Path, panel: str, column: str, given: Mapping[str, str], found: Mapping[str, float]
) -> None:
    """Ask for a column of a table ten minutes after the first sample, and compare all results."""
    asked = next(one for one in lines() if one.panel == panel and one.legend == column)
    check = {
        "expr": asked.filled(job="esper", instance="run"),
        "eval_time": "10m",
        "exp_samples": [{"labels": labels, "value": value} for labels, value in found.items()],
    }
    samples = [{"series": name, "values": values} for name, values in given.items()]
    file = directory / "asked.yml"
    file.write_text(to_yaml({"tests": [{"interval": "15s", "input_series": samples, "promql_expr_test": [check]}]}))
    _, report = promtool("test", "rules", file)
    assert "SUCCESS" in report, report
