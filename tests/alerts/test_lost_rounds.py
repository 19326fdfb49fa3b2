"""EsperCollectorRoundsLost on the series of gateways, as the shipped ServiceMonitor labels them.

Each way of ending a gateway is an ``instance`` of its own on one timeline, with scrapes 15 s apart. At a restart a
gateway is away for 45 s.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from deploy.prometheus.rule import rule
from esper_otel.alerts import ALERTS
from grafana.yaml_text import to_yaml
from tests.alerts.promtool import promtool

OPEN_ROUNDS = "otelcol_processor_tail_sampling_sampling_traces_on_memory"
UPTIME = "otelcol_process_uptime"
BEFORE, AWAY, AFTER = 80, 3, 80
ENDED_MIN = BEFORE * 15 // 60


class Gateway(msgspec.Struct, frozen=True):
    """A gateway that ends after 20 min and comes again, or does not.

    Attributes:
        meaning: how it ended.
        keeps_uid: whether it comes again in the same pod.
        comes_again: whether it comes again at all.
        open_rounds: rounds that it holds at the end.
        lost: whether the alert must fire.
    """

    meaning: str
    keeps_uid: bool = True
    comes_again: bool = True
    open_rounds: int = 3
    lost: bool = False

    @property
    def name(self) -> str:
        """Its ``instance``."""
        return self.meaning.replace(" ", "-")

    def series(self) -> list[dict[str, str]]:
        """Its series: one as long as its labels stay the same, else one up to the end and one from then on.

        The address is no label, so that it may be another one after a restart of the node.
        """
        before = {OPEN_ROUNDS: f"{self.open_rounds}x{BEFORE - 1}", UPTIME: f"0+15x{BEFORE - 1}"}
        after = {OPEN_ROUNDS: f"0x{AFTER}", UPTIME: f"5+15x{AFTER}"} if self.comes_again else {}
        away = f"stale _x{AWAY - 1}"
        if self.keeps_uid:
            return [self._row(name, "a", f"{before[name]} {away} {after.get(name, '')}") for name in before]
        return [
            *(self._row(name, "a", f"{before[name]} {away}") for name in before),
            *(self._row(name, "b", f"_x{BEFORE + AWAY} {after[name]}") for name in after),
        ]

    def _row(self, name: str, uid: str, values: str) -> dict[str, str]:
        labels = f'job="esper-gateway",instance="{self.name}",k8s_pod_uid="{uid}"'
        return {"series": f"{name}{{{labels}}}", "values": values.strip()}


GATEWAYS = (
    Gateway("killed in its pod", lost=True),
    Gateway("killed with nothing open", open_rounds=0),
    Gateway("node restarted", lost=True),
    Gateway("replaced by a rolling update", keeps_uid=False),
    Gateway("drained", keeps_uid=False),
    Gateway("node lost for good", comes_again=False),
)


@pytest.mark.parametrize("gateway", GATEWAYS, ids=lambda gateway: gateway.name)
def test_lost_rounds_are_told_from_an_orderly_end(gateway: Gateway, tmp_path: Path) -> None:
    (alert,) = [each for each in ALERTS if each.name == "EsperCollectorRoundsLost"]
    (tmp_path / "rules.yml").write_text(to_yaml({"groups": [{"name": "one", "rules": [rule(alert)]}]}))
    fired = 'count by (instance) (ALERTS{alertname="EsperCollectorRoundsLost", alertstate="firing"})'
    shown = [{"labels": f'{{instance="{gateway.name}"}}', "value": 1}]
    times = {
        ENDED_MIN - 1: False,
        ENDED_MIN + 2: gateway.lost,
        ENDED_MIN + 12: gateway.lost,
    }
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": gateway.series(),
                "promql_expr_test": [
                    {"expr": fired, "eval_time": f"{minute}m", "exp_samples": shown if fires else []}
                    for minute, fires in times.items()
                ],
            }
        ],
    }
    (tmp_path / "tests.yml").write_text(to_yaml(test))

    status, said = promtool("test", "rules", tmp_path / "tests.yml")

    assert 0 == status, said


def test_the_number_of_lost_rounds_is_that_of_the_pod_that_was_killed(tmp_path: Path) -> None:
    """Those of the pod before it, which was replaced in order, are not counted."""
    (alert,) = [each for each in ALERTS if each.name == "EsperCollectorRoundsLost"]
    labels = 'job="esper-gateway",instance="gateway-0",k8s_pod_uid'
    series = {
        f'{OPEN_ROUNDS}{{{labels}="a"}}': "9x40 stale",
        f'{UPTIME}{{{labels}="a"}}': "0+15x40 stale",
        f'{OPEN_ROUNDS}{{{labels}="b"}}': "_x42 2x20 0x20",
        f'{UPTIME}{{{labels}="b"}}': "_x42 0+15x20 5+15x20",
    }
    expected = [{"labels": '{job="esper-gateway", instance="gateway-0"}', "value": 2}]
    test = {
        "rule_files": [],
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{"expr": alert.expr, "eval_time": "17m", "exp_samples": expected}],
            }
        ],
    }
    (tmp_path / "tests.yml").write_text(to_yaml(test))

    status, said = promtool("test", "rules", tmp_path / "tests.yml")

    assert 0 == status, said
