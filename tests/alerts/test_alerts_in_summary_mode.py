"""In summary mode the shipped alerts fire and the recording rules hold what they do where everything is exported."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.alerts import ALERTS
from esper_otel.alerts.needed import NEEDED
from esper_otel.alerts.promql import BY_NAME
from esper_otel.alerts.recording import RECORDING
from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.alerts.selectors_of import selectors_of
from tests.alerts.two_modes import INTERVAL_S, MODES, SCRAPES, series_of
from tests.shared_run import finished_run
from tests.tools import ROOT

ROUNDS = "4"
SUFFIXES = ("_bucket", "_sum", "_count")


def bare(name: str) -> str:
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)


@pytest.mark.parametrize("expression", [*(alert.expr for alert in ALERTS), *RECORDING.values()])
def test_every_metric_of_an_alert_or_a_recording_rule_is_exported_whole(expression: str) -> None:
    whole = {BY_NAME[name].prometheus_name for name in NEEDED}
    registered = {signal.prometheus_name for signal in BY_NAME.values()}

    asked = {bare(name) for name, _ in selectors_of(expression)} & registered

    assert asked <= whole
    assert asked or "otelcol" in expression


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Values of the series of a run of the chaos recipe, by all and in summary mode."""
    return series_of(finished_run(tmp_path_factory, "--recipe", "chaos", "--rounds", ROUNDS))


def checks() -> list[dict[str, object]]:
    """Expressions that yield nothing where both modes agree, and one that shows that there is something to agree on."""
    fired = {mode: f'max_over_time(ALERTS{{instance="{mode}", alertstate="firing"}}[30m])' for mode in MODES}
    differences = [f"{fired[one]} unless ignoring (instance) {fired[other]}" for one, other in (MODES, MODES[::-1])]
    for name in RECORDING:
        one, other = (f'{name}{{instance="{mode}"}}' for mode in MODES)
        differences += [
            f"{one} unless ignoring (instance) {other}",
            f"abs({one} - ignoring (instance) {other}) > 1e-9 * abs({one})",  # terms of a sum come in any order
        ]
    end = f"{SCRAPES * INTERVAL_S // 60}m"
    provoked = {"expr": f"count({fired['summary']}) >= bool 4", "eval_time": end}
    return [
        *({"expr": expr, "eval_time": end, "exp_samples": []} for expr in differences),
        {**provoked, "exp_samples": [{"labels": "{}", "value": 1}]},
    ]


def verdict(series: dict[str, list[str]], directory: Path) -> str:
    rules = [str(ROOT / "deploy" / "prometheus" / name) for name in ("rules.yml", "recording.yml")]
    given = [{"series": name, "values": " ".join(values)} for name, values in series.items()]
    test = {"interval": f"{INTERVAL_S}s", "input_series": given, "promql_expr_test": checks()}
    file = directory / "tests.yml"
    file.write_text(to_yaml({"rule_files": rules, "evaluation_interval": "30s", "tests": [test]}))
    status, said = promtool("test", "rules", file)
    return "SUCCESS" if status == 0 else said


def test_every_alert_and_recording_rule_says_of_a_chaotic_run_what_it_says_where_everything_is_exported(
    series: dict[str, list[str]], tmp_path: Path
) -> None:
    by_mode = {mode: sum(f'instance="{mode}"' in name for name in series) for mode in MODES}

    assert by_mode["summary"] < 0.8 * by_mode["all"]
    assert "SUCCESS" == verdict(series, tmp_path)


def test_an_alert_that_does_not_find_its_counter_is_noticed(series: dict[str, list[str]], tmp_path: Path) -> None:
    lost = {name: values for name, values in series.items() if "rollbacks" not in name or 'instance="all"' in name}

    assert len(lost) < len(series)
    assert "TolariaRollback" in verdict(lost, tmp_path)
