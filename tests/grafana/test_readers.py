"""Every signal costs each rank its series: somebody reads it, on a dashboard or in a rule."""

from __future__ import annotations

import pytest

from esper_otel.alerts import ALERTS
from esper_otel.alerts.promql import BY_NAME
from esper_otel.alerts.recording import RECORDING
from grafana.boards import BOARDS
from grafana.layout.annotations import MARKS
from grafana.queries.facts import signals_in


def expressions() -> list[str]:
    """Every PromQL text that is shipped."""
    panels = [query.what.text for board in BOARDS for panel in board.panels for query in panel.queries]
    return [*panels, *(mark.what.text for mark in MARKS), *(alert.expr for alert in ALERTS), *RECORDING.values()]


READ_ELSEWHERE = {
    "tamiyo.batch": "A column of W&B: a person draws the others over it. Dashboards show tolaria.current_batch.",
    "tamiyo.ppo_update_idx": "A column of W&B that the plan names; it tells the updates of one batch apart.",
}
"""Signals that no panel and no rule reads, with who does."""

READ = frozenset().union(*map(signals_in, expressions()))


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_signal_is_read_by_a_panel_an_annotation_or_a_rule_or_a_reason_is_stated(name: str) -> None:
    assert (name in READ) != (name in READ_ELSEWHERE), (
        f"show {name} in a panel of grafana/boards, take the instrument from its field, or state here who reads it"
    )


def test_a_signal_that_nothing_asks_for_is_not_taken_for_read() -> None:
    assert {"tamiyo.updates"} == signals_in("rate(tamiyo_updates_total[5m]) and on () tamiyo_nobody_reads_this")
