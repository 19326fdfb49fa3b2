"""An axis that is logarithmic for large values has a place for 0."""

from __future__ import annotations

from tests.browser.canvas import coloured, levels
from tests.grafana.real_grafana import Grafana

KL = "esper-tamiyo", "KL divergence"


def test_the_kl_divergence_of_a_policy_that_is_stuck_is_a_line_at_0(grafana: Grafana) -> None:
    assert levels(coloured(grafana.solo(*KL, "collapsed")))


def test_a_kl_divergence_that_exploded_and_then_was_0_is_drawn_to_the_end(grafana: Grafana) -> None:
    columns = {x for x, _, _ in coloured(grafana.solo(*KL, "chaos", since="now-4h"))}

    assert max(columns) - min(columns) > 100
