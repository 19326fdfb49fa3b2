"""Panels of a run whose relay exports its ranks as one: they show its summary, and the extremes are the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool
from tests.alerts.selectors_of import grouped_by
from tests.alerts.two_modes import INTERVAL_S, MODES, SCRAPES, series_of
from tests.grafana.substituted import Target, lines
from tests.shared_run import finished_run

PARTS = {"rank", "env_id"}
END = f"{SCRAPES * INTERVAL_S // 60}m"
ADDED_UP = {
    "esper-esper/Bytes of the log/A",
    "esper-esper/Bytes of the log/B",
    "esper-esper/Events accepted by the log/A",
    "esper-kasmina/Seeds with gradient trouble/A",
    "esper-simic/Shaping in the reward/A",
    "esper-simic/Steps with a penalty/B",
    "esper-tamiyo/Operations chosen in a round/A",
    "esper-tamiyo/Rollbacks in the rollout/A",
    "esper-tamiyo/Rollbacks in the rollout/B",
    "esper-tamiyo/Rollbacks in the rollout/C",
    "esper-tamiyo/Steps that an update learns from/A",
    "esper-tolaria/Throughput/B",
    "esper-tolaria/Where it is/D",
}
"""Lines that add a gauge up over all ranks, or ask each for a condition, which no summary answers."""

_FAILED = re.compile(r'expr: "(.*?)", time: \S+,\s+exp:\s*(.*?)\s+got:\s*(.*?)\s*\n', re.DOTALL)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Values of the series of a run of five ranks, by all and in summary mode."""
    return series_of(finished_run(tmp_path_factory, "--recipe", "chaos", "--rounds", "4"))


def asked(line: Target, mode: str) -> str:
    return line.filled(job="esper", instance=mode, window="2m")


def found(series: dict[str, list[str]], expressions: list[str], directory: Path) -> set[str]:
    """The expressions that find something at the end of the run."""
    checks = [{"expr": text, "eval_time": END, "exp_samples": []} for text in expressions]
    given = [{"series": name, "values": " ".join(values)} for name, values in series.items()]
    file = directory / "panels.yml"
    tests = [{"interval": f"{INTERVAL_S}s", "input_series": given, "promql_expr_test": checks}]
    file.write_text(to_yaml({"tests": tests}))
    report = promtool("test", "rules", str(file))[1]
    return {expr.replace('\\"', '"') for expr, _, got in _FAILED.findall(report) if got != "nil"}


def test_a_line_has_data_in_summary_mode_unless_it_tells_ranks_apart_or_adds_them_up(
    series: dict[str, list[str]], tmp_path: Path
) -> None:
    counts = {(one.where, mode): f"count({asked(one, mode)})" for one in lines() for mode in MODES}
    answered = found(series, [*counts.values()], tmp_path)

    with_data = [one for one in lines() if counts[one.where, "all"] in answered]
    silent = {one.where for one in with_data if counts[one.where, "summary"] not in answered}
    apart = {one.where for one in with_data if grouped_by(one.text) & PARTS}
    assert len(with_data) > 300
    assert silent - apart == ADDED_UP


def test_the_largest_and_the_smallest_are_the_same_in_both_modes(series: dict[str, list[str]], tmp_path: Path) -> None:
    extremes = [one for one in lines() if one.text.startswith(("max by", "min by")) and "__name__" in one.text]
    both = [[asked(one, mode) for mode in MODES] for one in extremes if "instance" not in grouped_by(one.text[:60])]
    differ, agree = ([f"({one}) {sign} ({other})" for one, other in both] for sign in ("!=", "=="))

    answered = found(series, [*differ, *agree], tmp_path)

    assert not answered.intersection(differ)
    assert len(answered) > 10
